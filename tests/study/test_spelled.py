"""Options as the flags that ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from scl.cli.flags import parsed
from scl.study.config import Config
from scl.study.options import Options, options_for
from scl.study.scales import Scale
from scl.study.search import Search
from scl.study.space import Float
from scl.study.spelled import flags, in_ranges, spelled
from scl.study.study import Study

ARMS: Mapping[str, Mapping[str, Any]] = {"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "a b": {"lr": 0.2}}
STUDY = Study(
    "spelled", "?", ARMS, base=Config(epochs=5), search=Search({"lr": Float(0.01, 0.1)}), scales={"big": Scale()}
)


class Net(nn.Module):
    """A network of the user's."""


GIVEN: list[dict[str, Any]] = [
    {},
    {"arms": "kd,a b", "scale": "big", "seeds": "5"},
    {"arms": ["kd"], "seed_list": [0, 1, 2, 7]},
    {"student": "plain3", "width": 0.125, "teacher_model": "plain7", "teacher_width": 1e-3},
    {"set": {"milestones": (2, 4), "nesterov": False, "dropout": None, "weight.kd": 2, "kd.temperature": 1e-7}},
    {"set": ["milestones=2,4", "lr=0.3"], "fix": ["lr=0.05"], "at_most": "params=1e6,latency_ms=5"},
    {"label": "-x", "data": "my images/train's", "drop_class": "cat,dog", "test": 0.25, "image_size": 32},
    {"recipe": "crd", "epochs": 3, "teacher_epochs": 4, "batch_size": 8, "lr": 0.1, "augment": "crop+flip"},
    {"optimizer": "adamw", "precision": "bf16", "device": "cuda", "deterministic": True, "val": 0.0, "split_seed": 3},
    {
        "interval": 0.01,
        "between": "kd,baseline",
        "max_seeds": 9,
        "looks": "3,5",
        "margin": 0.005,
        "metric": "test_loss",
    },
    {"teacher": "t.pt", "teacher_mean": [0.5, 0.4, 0.3], "teacher_std": 0.2, "teacher_size": 64, "teachers": 2},
    {"trials": 7, "sampler": "random", "pruner": "none", "trial_seeds": 2, "terminate": 3, "cpus_per_trial": 2},
]


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: ",".join(given) or "nothing")
def test_flags_of_options_ask_for_the_same_options(given: dict[str, Any]) -> None:
    options = options_for(STUDY, given)
    found, lacking = spelled(options)
    again = replace(parsed(STUDY, "study.py", flags(found)), command="", script="")
    assert lacking == []
    # `--set` and `--fix` read their texts when they reach a field.
    assert spelled(again) == (found, [])
    if not given.keys() & {"set", "fix"}:
        assert again == options


def test_where_a_run_happens_is_no_part_of_what_it_finds() -> None:
    places = {"inline": True, "out": "s3://mine/x", "storage": "sqlite:///a", "cohort_size": 2, "track": "wandb"}
    assert spelled(options_for(STUDY, {**places, "no_logits": True, "max_concurrent": 3})) == ({}, [])


def test_what_no_flag_can_give_is_named() -> None:
    class Local(nn.Module):
        """A network without a name in its file."""

    found, lacking = spelled(replace(Options(), student=Local, arms=("a,b",), set={"x": {"y": 1}}, lr=0.5))
    assert found == {"lr": ["0.5"]}
    assert lacking == ["arms", "student", "set"]
    assert spelled(replace(Options(), student=Net))[0] == {"student": ["test_spelled.py:Net"]}


def test_credentials_are_hidden() -> None:
    found, _ = spelled(replace(Options(), data="s3://key:secret@bucket/x"))
    assert found["data"] == ["s3://***@bucket/x"]


@pytest.mark.parametrize(("seeds", "text"), [([0], "0"), ([2, 0, 1, 7], "0-2,7"), ([5, 6], "5-6"), ([3, 1], "1,3")])
def test_seeds_in_ranges(seeds: list[int], text: str) -> None:
    assert in_ranges(seeds) == text
