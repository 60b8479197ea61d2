"""Every flag of every command takes any text, or refuses it in one message that names it: never a traceback."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scl
from scl.cli import command
from scl.cli.flags import flag
from scl.study.options import flags_of
from scl.study.scales import Scale
from scl.study.search import Search
from scl.study.space import Float
from tests.support.nasty import DIGITS, EVERY, ROOT, Ended, call, in_folder, nothing_runs, script
from tests.support.studies import SMALL

STUDIES = sorted(path.name for path in (ROOT / "studies").glob("*.py"))
STUDY = scl.Study(
    "extremes",
    "?",
    SMALL.arms,
    base=SMALL.base,
    teacher=SMALL.teacher,
    search=Search({"lr": Float(0.01, 0.1)}, prune=False),
)
SCALED = scl.Study(
    "scaled", "?", SMALL.arms, base=SMALL.base, teacher=SMALL.teacher, scales={"short": Scale(data="digits")}
)
# What a text may not be in the fuzz: a download, a network's answer, or a folder outside of the test's.
ELSEWHERE = re.compile(r"[/~]|\.\.|cifar|mnist|timm|torchvision|s3:|gs:|hdfs|abfs")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    nothing_runs(monkeypatch)


def assert_answered(ended: Ended, *names: str) -> None:
    """A sensible run, or a refusal that names one of these."""
    assert not ended.trace, ended.trace
    assert ended.code in (0, 1, 2, 3), ended
    if ended.code:
        assert ended.error.strip(), ended
        assert len(ended.error) < 6000, ended.error
        assert any(name in ended.error for name in names), (names, ended.error)


def spelled(name: str) -> list[str]:
    """How a refusal may name an option: its flag, the option, or what it is about."""
    about = {
        "storage": ["storage"],
        "data": ["data"],
        "teacher": ["teacher"],
        "start_from": ["start-from", "results", "study"],
        "out": ["out", "folder of results"],
        "scale": ["scale"],
    }
    return [flag(name), name, *about.get(name, []), name.replace("_", " ")]


# ------------------------------------------------------------------------------------------------------- fast: a table

REFUSED = [
    *(
        ("seeds", value)
        for value in ("1e400", DIGITS, "²", "１２", "٣", "1_0", "0x10", "nan", "1e2", "", "\0", "1000000000")
    ),
    *(("epochs", value) for value in ("1e400", "1" + "0" * 30, "100001", "-0", "\udc80")),
    *(("lr", value) for value in ("nan", "inf", "1e400", "1e-400", "-0", "1_0.5", "٣")),
    *(("val", value) for value in ("1e-400", "1", "-1", "0x1")),
    *(("width", value) for value in ("65", "1e308", "nan")),
    *(("margin", value) for value in ("0.5", "nan")),
    *(("looks", value) for value in ("5,3", "1")),
    *(("interval", value) for value in ("1e-300", "1", "0")),
    *(("max_seeds", value) for value in ("1" + "0" * 30, "1")),
    *(("batch_size", value) for value in ("1000001", "1")),
    *(("limit", value) for value in ("1" + "0" * 30, "1")),
    *(("split_seed", value) for value in (str(2**63), DIGITS)),
    *(("gpus_per_trial", value) for value in ("1e-300", "1.5", "1e9")),
    *(("cpus_per_trial", value) for value in ("1000000000",)),
    *(("time_budget", value) for value in ("1e400", "0")),
    *(("address", value) for value in ("h:0", "h:70000", "a..b:1", "a" * 64 + ":1", "h:²", "")),
    *(("data", value) for value in ("", "\0", "caf\udce9", "FIFO", "FILE", "a" * 300, "a" * 5000, "x\ny")),
    *(("teacher", value) for value in ("", "\0", "FIFO", "a" * 300, "/".join(["a" * 200] * 15))),
    *(
        ("out", value)
        for value in ("", "\0", "s3://", "gs:///", "file:x", "FIFO", "FILE", "FILE/x", "/dev/null", "a" * 300)
    ),
    *(
        ("set", value)
        for value in ("lr=1e400", f"epochs={DIGITS}", "lr=²", "kd.temperature=nan", "nesterov=1", "a", "=1")
    ),
    *(("set", value) for value in ("milestones=1,²", "self_taught=1_0", "weight.kd=1e-400", "batch_size=1e3", "")),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[f"{name}-{i}" for i, (name, _) in enumerate(REFUSED)])
def test_extremes_are_refused_in_one_message(name: str, value: str) -> None:
    more = ["--between", "kd,baseline"] if name == "interval" else []
    ended = script(
        "studies/ablation.py",
        "--plan",
        f"{flag(name)}={value}",
        *more,
    )
    assert_answered(ended, *spelled(name))
    assert ended.code == 2
    assert ended.error.startswith("error: ")
    assert len(ended.error) < 2500


@pytest.mark.parametrize(
    "flags",
    [
        "--seeds=+5",
        "--seeds= 5 ",
        "--seeds=007",
        "--lr=1e-3",
        "--lr=1e2",
        "--lr=.1",
        "--width=64",
        "--val=0",
        "--val=-0",
        "--time-budget=1e308",
        "--seeds=3 --seeds=4",
        "--limit=1000000000",
        "--cohort-size=100000",
        "--gpus-per-trial=0",
    ],
)
def test_unusual_but_right_numbers_are_taken(flags: str) -> None:
    ended = script("studies/ablation.py", "--plan", "--inline", *re.split(" (?=--)", flags))
    assert (ended.code, ended.trace, ended.error) == (0, "", "")


@pytest.mark.parametrize(("arms", "seeds"), [(3, 50), (101, 1), (11, 10)])
def test_a_plan_of_too_many_trials_is_refused_before_it_is_made(
    arms: int, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scl.study.settled.MOST_TRIALS", 100)
    many = {"baseline": {}} | {f"arm {i}": {"lr": 0.01 + i * 1e-6} for i in range(arms - 1)}
    study = scl.Study("many", "?", many)
    with pytest.raises(scl.UserError, match=rf"^{arms:,} arms × {seeds:,} seeds are .* at most 100; give --seeds "):
        scl.plan(study, seeds=seeds, inline=True)


# --------------------------------------------------------------------------------------------------- keywords of Python

VALUES = [
    None,
    True,
    10**400,
    10**5000,
    -(10**30),
    float("nan"),
    float("inf"),
    -0.0,
    1e-300,
    1j,
    b"x",
    b"\xff",
    [],
    [None],
    [[]],
    (),
    {},
    {1: 2},
    {"lr": None},
    {"lr": 10**5000},
    {"lr": object()},
    {"milestones": [10**5000]},
    {"self_taught": [1j]},
    {"": ""},
    {"teacher_layers": ["\udc80"]},
    {"weight.kd": "x"},
    {"kd.temperature": 10**400},
    {"kd.layers": [2**70]},
    {"epochs": 1.5},
    {"model": "\0"},
    {"nesterov": 1},
    {"losses": 3},
    {"losses": {"kd": float("nan")}},
    object(),
    object,
    Path,
    len,
    range(3),
    set(),
    Path("\0"),
    Path("a" * 300),
    "\udc80",
    DIGITS,
    "",
    "1_0",
]


@pytest.mark.parametrize("name", [name for name in flags_of(STUDY) if name not in ("plan", "report_only")])
def test_a_keyword_is_taken_or_refused_as_a_users_mistake(name: str) -> None:
    for value in VALUES:
        options = {"inline": True, "seeds": 2, "out": "results", name: value}
        with suppress(scl.UserError):
            scl.plan(STUDY, **options)


# --------------------------------------------------------------------------------------------------------- slow: a fuzz

anything = st.one_of(
    st.sampled_from(EVERY),
    st.text(max_size=30).filter(lambda text: not ELSEWHERE.search(text)),
    st.text("0123456789.eE+-_ ", max_size=12),
    st.builds(
        "{}={}".format,
        st.sampled_from([*scl.Config.__dataclass_fields__, "weight.kd", "kd.temperature"]),
        st.sampled_from(EVERY),
    ),
)
fuzz = settings(
    max_examples=int(os.environ.get("SCL_FUZZ", "100")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def study_flags(path: str) -> Iterator[str]:
    help_text = ROOT.joinpath("studies", path).read_text()
    needs = {"search": "search=" in help_text or "search.py" in path, "scales": "scales=" in help_text}
    study = STUDY if needs["search"] else SCALED if needs["scales"] else SMALL
    yield from (name for name, about in flags_of(study).items() if about.metavar)


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES)
@fuzz
@given(data=st.data())
def test_any_text_of_any_flag_of_a_study_is_answered(path: str, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(list(study_flags(path))), min_size=1, max_size=3, unique=True))
    given = [f"{flag(name)}={data.draw(anything)}" for name in names]
    given += [] if "data" in names else ["--data=digits"]  # which need no download
    end = data.draw(st.sampled_from([["--plan"], ["--plan", "--inline"], ["--report-only"]]))
    ended = script(f"studies/{path}", *given, *end)
    assert_answered(
        ended, *[spelling for name in names for spelling in spelled(name)], "no study.json", "report", "trial", "arm"
    )


def positionals(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [commands] = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(commands.choices)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(positionals(command.parser())))
@fuzz
@given(
    arguments=st.lists(
        st.one_of(anything, st.sampled_from(["--out", "--format", "--input", "STORE", "studies/x.py"])), max_size=4
    )
)
def test_any_arguments_of_a_command_are_answered(name: str, arguments: list[str], small: Path) -> None:
    given = [str(small) if a == "STORE" else a for a in arguments]
    assert_answered(call(lambda: command.main([name, *given])), "error")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["compare.py", "table.py", "own_page.py"])
@fuzz
@given(arguments=st.lists(st.one_of(anything, st.sampled_from(["--out", "--format", "csv", "STORE"])), max_size=4))
def test_any_arguments_of_a_report_are_answered(path: str, arguments: list[str], small: Path) -> None:
    assert_answered(script(f"reports/{path}", *(str(small) if a == "STORE" else a for a in arguments)), "error")
