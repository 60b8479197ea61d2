"""The commands of the page, which run, and the whole recipe."""

from __future__ import annotations

import html
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scl.plan.plan import Plan, with_arms
from scl.report.blocks import Code, Pairs, Panel
from scl.report.questions.recipe import panel
from scl.run.provenance import study_record
from scl.store.files import Folder, open_folder
from scl.store.results import load
from scl.store.study_file import write_study
from scl.study.config import Config
from scl.study.identity import requested
from scl.study.scales import Setting
from scl.study.settled import resolved, seeds_of
from scl.study.study import Study
from scl.study.term import Term
from tests.support.pages import built
from tests.support.plans import SEARCHING, STUDY
from tests.support.studies import asked, planned
from tests.support.synthetic import gathered, make_store

DEEP: dict[str, Any] = {
    "baseline": {},
    "kd 2": {"ce": 0.1, "losses": {"kd": Term(0.9, options={"temperature": 2.0})}},
    "staged": {"losses": {"at": Term(5, layers=(-2, -1), warmup=1), "kd": 1.0}, "self_taught": (0, 2)},
    'it\'s "quoted"': {"losses": {"twice": Term(1.0, loss="kd")}, "augment": "crop+mixup", "lr": 0.0312},
}
NO_CE = {"baseline": {"ce": 0, "losses": {"kd": 1}}, "at": {"ce": 0, "losses": {"at": 1}}}


def codes(shown: Panel) -> dict[str, str]:
    """The texts that the panel offers to copy, by their labels."""
    return {block.label: block.text for block in shown.blocks if isinstance(block, Code)}


def said(shown: Panel) -> dict[str, str]:
    return {term: text for block in shown.blocks if isinstance(block, Pairs) for term, text in block.items}


def command(code: str) -> list[str]:
    return shlex.split(code.splitlines()[-1])


def ids(trials: Any) -> set[tuple[str, int, str]]:
    return {(t.arm, t.seed, t.trial_id) for t in trials}


def identity(study: Study, given: Sequence[str]) -> list[Any]:
    """What the ids of trials are made of, but for the pixels."""
    sized, options = asked(study, *given)
    arms, teacher = resolved(sized, options)
    data = [getattr(options, name) for name in ("data", "label", "limit", "val_share", "split_seed", "teacher")]
    seeds = {seed: options.teacher_seed(seed) for seed in seeds_of(sized, options)}
    run = [options.deterministic, options.margin, options.looks]
    return [{arm: requested(config) for arm, config in arms.items()}, requested(teacher), seeds, data, run]


def recorded(plan: Plan, folder: Path, script: str = "study.py", **changes: Any) -> Folder:
    """A store with the record of a plan, with changes, and a result of each arm."""
    plan = replace(plan, options=replace(plan.options, script=script))
    store = make_store(folder, list(plan.arms), [0], lambda arm, seed: 0.7)
    write_study(store, {**study_record(plan), **changes})
    return store


def study_in(code: str, folder: Path) -> Study:
    """The study in the file that a block writes."""
    found = re.fullmatch(r"(?:#.*\n)*cat > (\S+) <<'END_OF_STUDY'\n(.*)\nEND_OF_STUDY\n(.*)", code, re.DOTALL)
    assert found
    assert command(code)[:2] == ["python", found[1]]
    (folder / found[1]).write_text(found[2], encoding="utf-8")
    study = runpy.run_path(str(folder / found[1]))["STUDY"]
    assert isinstance(study, Study)
    return study


@pytest.mark.parametrize(
    ("study", "flags"),
    [
        (STUDY, ()),
        (STUDY, ("--seed-list", "0-1,7", "--arms", "kd", "--limit", "100", "--split-seed", "3", "--val", "0.2")),
        (STUDY, ("--set", "weight.kd=2,lr=0.03", "--set", "kd.temperature=2", "--set", "teacher.lr=0.2")),
        (STUDY, ("--recipe", "crd", "--epochs", "4", "--student", "plain5", "--teacher-per-seed")),
        (STUDY, ("--teachers", "2", "--epochs", "7", "--teacher-epochs", "30", "--augment", "crop")),
        (replace(STUDY, base=Config(model="plain3", epochs=3), arms=DEEP, seeds=2), ("--margin", "0.01")),
        (replace(STUDY, settings={"digits": Setting(student={"width": 0.25}, teacher={"width": 0.5})}), ()),
        (replace(STUDY, contrasts={"kd?": {"kd": 1, "at": -1}}, roles={"at": "control"}, against_teacher="kd"), ()),
        (replace(STUDY, constraints={"params": 1e6}, metric="test_loss"), ("--looks", "3,5", "--deterministic")),
        (replace(STUDY, arms=NO_CE), ()),
    ],
    ids=["defaults", "seeds", "set", "recipe", "teachers", "terms", "setting", "declared", "loss", "no shared term"],
)  # fmt: skip
def test_the_commands_ask_for_the_same_trials(study: Study, flags: tuple[str, ...], tmp_path: Path) -> None:
    plan = planned(study, tmp_path / "out", *flags)
    blocks = codes(panel(gathered(recorded(plan, tmp_path / "store"))))
    with_file, alone = blocks["With the study’s file"], blocks["From this page alone"]
    assert command(with_file)[:2] == ["python", "study.py"]
    assert identity(study, command(with_file)[2:]) == identity(study, flags)
    again = study_in(alone, tmp_path)
    assert identity(again, command(alone)[2:]) == identity(study, flags)
    assert (again.contrast_weights, again.arm_roles) == (plan.study.contrast_weights, plan.study.arm_roles)
    assert (again.metric, again.constraints) == (plan.study.metric, plan.study.constraints)


def test_the_commands_plan_the_same_ids(tmp_path: Path) -> None:
    study, flags = replace(STUDY, arms=DEEP), ("--limit", "100", "--seed-list", "1,3", "--teacher-per-seed")
    plan = planned(study, tmp_path / "out", *flags)
    blocks = codes(panel(gathered(recorded(plan, tmp_path / "store"))))
    with_file, alone = blocks["With the study’s file"], blocks["From this page alone"]
    assert ids(planned(study, tmp_path / "a", *command(with_file)[2:]).trials) == ids(plan.trials)
    again = planned(study_in(alone, tmp_path), tmp_path / "b", *command(alone)[2:])
    assert ids(again.trials) == ids(plan.trials)


def test_a_block_of_a_search_trains_its_winners(tmp_path: Path) -> None:
    plan = planned(SEARCHING, tmp_path / "out", "--seeds", "2")
    won = {"winner-1": plan.template.replace(lr=0.07), "winner-2": plan.template.replace(lr=0.02, self_taught=4)}
    plan = with_arms(plan, {**plan.arms, **won}, plan.seeds)
    store = recorded(plan, tmp_path / "store", search_space={"lr": {"low": 0.01, "high": 0.1}}, search={"trials": 7})
    shown = panel(gathered(store))
    alone = codes(shown)["From this page alone"]
    again = planned(study_in(alone, tmp_path), tmp_path / "b", *command(alone)[2:])
    assert ids(again.trials) == ids(plan.trials)
    assert "trains the baseline and the winners of the search, not the search" in said(shown)["From this page alone"]


@pytest.fixture(scope="module")
def small_plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return planned(STUDY, tmp_path_factory.mktemp("tiny"))


def own_loss(student: Any, teacher: Any) -> Any:
    return ((student - teacher) ** 2).mean()


@pytest.mark.parametrize(
    ("study", "script", "changes", "blocks", "needs"),
    [
        (STUDY, "", {}, ["From this page alone"], {"The study": "Run from Python with scl.run, so there is no file"}),
        (
            replace(STUDY, arms={"baseline": {}, "own": {"losses": {"own": Term(1.0, loss=own_loss)}}}),
            "study.py",
            {},
            ["With the study’s file"],
            {"From this page alone": "the arm 'own' has a loss of its author's, 'own', of which the store holds"},
        ),
        (STUDY, "/somewhere/else/mine.py", {}, ["With the study’s file", "From this page alone"],
         {"The study’s file": "mine.py is in no commit of git, so it must come from its author"}),
        (STUDY, "study.py", {"asked": {}}, [], {"The command": "Given once more, it records one that runs"}),
        (STUDY, "study.py", {"arms": {}}, [], {}),
        (STUDY, "study.py", {"teacher": {}}, ["With the study’s file"],
         {"From this page alone": "does not hold the settings of all arms and of the teacher"}),
        (STUDY, "study.py", {"arms": {"baseline": {"a field of tomorrow": 1}}}, ["With the study’s file"],
         {"From this page alone": "the arm 'baseline' is no configuration of this version of scl"}),
        (STUDY, "study.py", {"factors": {"lr": {"levels": [1.0]}}}, ["With the study’s file", "From this page alone"],
         {"From this page alone": "has no panel about factors"}),
        (STUDY, "study.py", {"asked": {"by": "flags", "script": "study.py", "lacking": [], "options": {
            "data": ["/data/faces"], "teacher": ["s3://***@mine/t.pt"], "seeds": ["1"]}}},
         ["With the study’s file", "From this page alone"],
         {"Data": "/data/faces is a path of the machine", "Teacher": "from elsewhere", "Hidden": "put your own"}),
    ],
    ids=["scl.run", "own loss", "elsewhere", "old store", "no arms", "no teacher", "newer", "factors", "files"],
)  # fmt: skip
def test_what_a_reader_needs_is_said(
    study: Study,
    script: str,
    changes: dict[str, Any],
    blocks: list[str],
    needs: dict[str, str],
    small_plan: Plan,
    tmp_path: Path,
) -> None:
    plan = small_plan if study is STUDY else planned(study, tmp_path / "out")
    shown = panel(gathered(recorded(plan, tmp_path / "store", script, **changes)))
    assert list(codes(shown)) == blocks
    for term, text in needs.items():
        assert text in said(shown)[term]


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        ({"script": "-c", "options": {"data": ["digits"]}}, None),
        ({"script": "rm -rf ~", "options": {"data": ["digits"]}}, None),
        (
            {"script": "a;b.py", "options": {"data": ["$(id)"], "x; y": []}},
            "python 'a;b.py' --data '$(id)' --device cpu ",
        ),
        ({"script": "a.py", "options": {"x": ["1"]}}, None),
    ],
)
def test_a_record_from_elsewhere_puts_no_other_command_on_the_page(
    asked: dict[str, Any], command: str | None, small_plan: Plan, tmp_path: Path
) -> None:
    blocks = codes(panel(gathered(recorded(small_plan, tmp_path, asked=asked))))
    assert ("With the study’s file" in blocks) == bool(command)
    if command:
        assert blocks["With the study’s file"].splitlines()[-1].startswith(command)


def test_device_and_threads_are_those_of_the_run_that_trained(small_plan: Plan, tmp_path: Path) -> None:
    (command, _) = codes(panel(gathered(recorded(small_plan, tmp_path, device="cuda", cpus_per_trial=4)))).values()
    assert command.endswith("--device cuda --cpus-per-trial 4")


def test_a_study_whose_network_no_flag_can_give_says_so(small_plan: Plan, tmp_path: Path) -> None:
    by_python = {"by": "scl.run", "script": "", "lacking": ["student"], "options": {"data": ["digits"], "seeds": ["1"]}}
    shown = panel(gathered(recorded(small_plan, tmp_path / "store", asked=by_python)))
    assert "with student as objects, which no flag can give" in said(shown)["The study"]


def test_the_whole_recipe_is_there_and_the_block_is_a_text_to_copy(tmp_path: Path) -> None:
    nasty = replace(STUDY, question="</pre><script>alert(1)</script>", arms={"baseline": {}, "<b>": {"lr": 0.0312}})
    page, text, _ = built(recorded(planned(nasty, tmp_path / "out"), tmp_path / "store"))
    blocks = re.findall(r'<pre id="(code-recipe-\d+)"[^>]*>(.*?)</pre>', text, re.DOTALL)
    assert [f'data-copy="{name}"' in text for name, _ in blocks] == [True, True]
    assert study_in(html.unescape(blocks[1][1]), tmp_path).question == nasty.question
    for words in ("sgd momentum 0.9 with Nesterov; weight decay 0.0005", "0.0312: cosine to 0 over 30 epochs",
                  "32 images, each image once an epoch", "plain3 × 0.125 (width)", "0–2: initial weights", "here crop",
                  "1 thread", "hold", "plain5 × 0.125 (width)"):  # fmt: skip
        assert words in page.text
    assert ("", "<b>") in page.arms


@pytest.mark.slow
def test_the_block_of_a_page_runs_in_a_shell(small: Path, tmp_path: Path) -> None:
    text = built(open_folder(str(small)))[1]
    (block,) = re.findall(r'<pre id="code-recipe-1"[^>]*>(.*?)</pre>', text, re.DOTALL)
    script = html.unescape(block).replace("\npython ", f"\n{sys.executable} ") + " --inline --out again"
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, check=True)
    again, first = (load(str(at)).trials.set_index("trial_id")["test_acc"] for at in (tmp_path / "again/small", small))
    assert again.sort_index().to_dict() == first.sort_index().to_dict()
