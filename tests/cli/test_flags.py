"""Flags of a study file: made from the options, and read back into them."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from typing import Any

import pytest

from scl.cli.flags import add_flags, flag, parsed, parsed_with, parser
from scl.errors import UserError
from scl.study.options import Options, flags_of, options_for
from scl.study.scales import Scale
from scl.study.search import Search
from scl.study.space import Float
from scl.study.study import Study
from tests.support.studies import SMALL

SEARCHING = replace(SMALL, search=Search({"lr": Float(0.01, 0.1)}))
SCALED = replace(SMALL, scales={"short": Scale(), "full": Scale()})
HELP = (
    "--address --data --label --limit --arms --seeds --epochs --batch-size --lr --student --teacher-model --width "
    "--teacher-width --teacher-epochs --device --split-seed --teacher --cohort-size --gpus-per-trial --cpus-per-trial "
    "--max-concurrent --time-budget --out --inline --val --teacher-per-seed --teachers --precision --optimizer "
    "--deterministic --plan --report-only --page --force --recipe --set --seed-list --drop-class --test --augment "
    "--no-flip"
)


def test_help_has_every_flag_of_the_contract() -> None:
    text = parser(SMALL, "small.py").format_help()
    assert [name for name in HELP.split() if f"{name} " not in text and f"{name}\n" not in text] == []


def test_the_help_of_a_study_has_examples_that_parse() -> None:
    """Every example of the help is a command line that the study takes."""
    spaced = replace(SMALL, arms={f"{arm}'s own" if arm == "scl" else arm: c for arm, c in SMALL.arms.items()})
    text = parser(spaced, "small.py").format_help()
    examples = text.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) == 5
    for line in examples:
        assert parsed(spaced, "small.py", shlex.split(line.strip().split("  ")[0])[1:])


def test_the_help_states_the_arms_and_those_that_run_only_if_asked_for() -> None:
    assert "Arms: baseline, scl, a/branch.\n" in parser(SMALL, "small.py").format_help()
    text = parser(replace(SMALL, asked_for=("scl",)), "small.py").format_help()
    assert "Arms: baseline, a/branch. Only if asked for: scl.\n" in text


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("", {}),
        ("--seeds 5 --arms scl,a/branch", {"seeds": 5, "arms": ("scl", "a/branch")}),
        ("--batch-size=64 --lr 1e-3 --inline", {"batch_size": 64, "lr": 0.001, "inline": True}),
        ("--set lr=0.1,epochs=3 --set weight.kd=2", {"set": {"lr": "0.1", "epochs": "3", "weight.kd": "2"}}),
        ("--set milestones=150,180 --set lr=1", {"set": {"milestones": "150,180", "lr": "1"}}),
        ("--cohort-size auto", {"cohort_size": None}),
        ("--data 'a folder'", {"data": "a folder"}),
        ("--seed-list 0-2,7", {"seed_list": (0, 1, 2, 7)}),
        ("--augment flip+rrc:0.3 --no-flip", {"augment": "rrc:0.3+flip", "no_flip": True}),
    ],
)
def test_flags_become_options(line: str, options: dict[str, Any]) -> None:
    flags = shlex.split(line)
    command = " ".join(["small.py", *flags])
    assert parsed(SMALL, "studies/small.py", flags) == Options(**options, command=command, script="studies/small.py")


@pytest.mark.parametrize("study", [SMALL, SEARCHING, SCALED], ids=["arms", "search", "scales"])
def test_each_flag_and_its_keyword_are_one_option(study: Study) -> None:
    """Property: the same value given on the command line and in Python is the same option."""
    samples: dict[str, Any] = {
        "arms": "scl", "scale": "full", "student": "plain3", "teacher_model": "plain7", "teacher": "t.pt",
        "teacher_layers": "layer1,layer2", "set": "lr=0.2", "fix": "lr=0.2", "between": "scl,baseline",
        "storage": "sqlite:///x", "start_from": "results", "data": "cifar10", "label": "fine", "recipe": "crd",
        "drop_class": "cat,dog", "test": 0.25,
        "precision": "fp32", "device": "cpu", "address": "auto", "out": "there", "track": "mlflow", "interval": 0.25,
        "val": 0.25, "seed_list": "3,4", "margin": 0.01, "looks": "3,5", "page": "page.html",
        "metric": "macro_f1", "at_most": "params=3", "image_size": 32, "image_fit": "pad", "sampler": "gp",
        "pruner": "median", "augment": "rrc+flip", "student_layers": "layer1", "student_weights": "w.pt",
        "optimizer": "adamw",
        "teacher_mean": "0.5,0.4,0.3", "teacher_std": "0.5", "teacher_classes": "a,b",
    }  # fmt: skip
    for name, about in flags_of(study).items():
        value = samples.get(name, 3) if about.metavar else True
        text = [flag(name), str(value)] if about.metavar else [flag(name)]
        from_line = parsed(study, "s.py", text)
        assert replace(from_line, command="", script="") == options_for(study, {name: value}), name
        assert getattr(from_line, name) != getattr(Options(), name), name
        # The help names it, with its placeholder.
        assert f"{flag(name)} {about.metavar}".strip() in parser(study, "s.py").format_help()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--sedes 3", r"unknown flag '--sedes' \(did you mean '--seeds'\?\); valid: --seeds, .*--report-only"),
        ("--seed=3", r"unknown flag '--seed' \(did you mean '--seeds'\?\)"),  # no abbreviations
        ("--trials 3", "^--trials is for studies with a search, and study 'small' has none; valid: --arms, "),
        ("--scale full", "^--scale is for studies with scales, and study 'small' has none; valid: --arms, "),
        ("kd", "unknown argument 'kd'"),
        ("--batch-size one", "^--batch-size: must be a whole number of 2 to 1,000,000, got 'one'"),
        ("--seeds 0 --lr fast", "(?s)^--seeds: must be .*\n--lr: must be a finite number"),
    ],
)
def test_mistakes_are_spelled_as_flags(line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parsed(SMALL, "small.py", line.split())


def test_the_record_of_the_command_hides_passwords() -> None:
    line = ["--storage", "postgresql+psycopg://me:secret@host/db"]
    options = parsed(SEARCHING, "small.py", line)
    assert "secret" not in options.command
    assert options.storage == line[1]


def test_a_script_may_add_flags() -> None:
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--runs", type=int, default=1)
    options, others = parsed_with(SMALL, "bench.py", ["--runs", "4", "--seeds", "2"], more)
    assert (options.seeds, others) == (2, {"runs": 4})
    assert "--runs" in parser(SMALL, "bench.py", more).format_help()


def test_flags_can_be_added_to_another_parser() -> None:
    p = argparse.ArgumentParser()
    add_flags(p, SEARCHING)
    given = vars(p.parse_args(["--trials", "4", "--set", "a=1", "--set", "b=2"]))
    assert given.keys() == flags_of(SEARCHING).keys()
    assert (given["trials"], given["set"], given["inline"]) == ("4", ["a=1", "b=2"], None)
