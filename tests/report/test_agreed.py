"""What differs from a declaration: whatever a run adds, leaves out or changes is said, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scl.plan.plan import Plan
from scl.report.agreed import agreed_of, changes, other_arms
from scl.report.registered import registered
from scl.run.provenance import study_record
from scl.search.trials import stored_space
from scl.store.declaration import read_declaration
from scl.store.study_file import read_study
from scl.study.identity import requested
from scl.study.study import Study
from scl.study.term import Term
from tests.support.declarations import ASKING, declared, ran
from tests.support.plans import SEARCHING, STUDY, tiny_plan


def in_full(seeds: str) -> list[int]:
    """The seeds of a range, as in 0-2."""
    first, _, last = seeds.partition("-")
    return list(range(int(first), int(last or first) + 1))


def names(said: list[str], texts: list[str]) -> None:
    """There are as many sentences as texts, and each text stands in one."""
    assert len(said) == len(texts), said
    for text in texts:
        assert any(text in one for one in said), said


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds are declared, and nothing has run."""
    out = tmp_path_factory.mktemp("declared")
    declared(out, "--seeds", "3")
    return out


@pytest.mark.parametrize(
    ("flags", "study", "changed"),
    [
        (("--seeds", "4"), {}, ["added later: seed 3"]),
        (
            ("--seed-list", "1-4"),
            {},
            [
                "added later: seeds 3–4",
                "declared, but not part of this run: seed 0",
                "looked at before the declared seeds were done: at 2 seeds",
            ],
        ),
        (("--seed-list", "5-7"), {}, ["added later: seeds 5–7", "declared, but not part of this run: seeds 0–2"]),
        (("--seed-list", "5-7", "--lr", "0.1"), {}, ["seeds 5–7", "seeds 0–2", "do not run as declared: other lr"]),
        (("--seed-list", "5-7", "--limit", "70"), {}, ["seeds 5–7", "seeds 0–2", "run as declared: other data"]),
        (("--seed-list", "5-7", "--teacher-width", "0.25"), {}, ["seeds 5–7", "seeds 0–2", "another teacher"]),
        (("--seeds", "3", "--looks", "3,5"), {}, ["the planned looks are at 3 and 5 seeds, and none were declared"]),
        (
            ("--seed-list", "0-4", "--interval", "0.01", "--between", "kd,baseline", "--max-seeds", "8"),
            {},
            ["added later: seeds 3–4", "added later: the interval of “kd” and “baseline” with a width of 0.01, after"],
        ),
        (("--seeds", "3", "--arms", "kd"), {}, ["declared arms that are not part of this run: “at”"]),
        (("--seeds", "3"), {"arms": {**STUDY.arms, "sp": {"losses": {"sp": 1}}}}, ["arms added later: “sp”"]),
        (
            ("--seeds", "3"),
            {"arms": {**STUDY.arms, "kd": {"losses": {"kd": 2.0}}}},
            ["“kd” does not run as declared: other losses"],
        ),
        (("--seeds", "3", "--lr", "0.1"), {}, ["“baseline”, “kd” and “at” do not run as declared: other lr"]),
        (("--seeds", "3", "--limit", "70"), {}, ["do not run as declared: other data"]),
        (("--seeds", "3", "--teacher-width", "0.25"), {}, ["do not run as declared: another teacher"]),
        (("--seeds", "3", "--metric", "macro_f1"), {}, ["the metric is macro_f1, and test_acc was declared"]),
        (("--seeds", "3", "--margin", "0.02"), {}, ["the margin is 0.02, and none was declared"]),
        (("--seeds", "3"), {"roles": {"at": "control"}}, ["the roles are “at”: control, and none were declared"]),
        (
            ("--seeds", "3"),
            {"constraints": {"params": 900_000}},
            ["the constraints are “params”: 900000, and none were declared"],
        ),
        (("--seeds", "3"), {"against_teacher": "kd"}, ["“kd” is compared with its teacher, and no arm was declared"]),
        (
            ("--seeds", "3"),
            {"contrasts": {"Does KD help?": ("kd", "baseline"), "Does AT?": ("at", "baseline")}},
            ["contrasts added later: “Does AT?”", "the study no longer has: “Is KD above AT?”"],
        ),
    ],
)
def test_what_differs_is_said_before_anything_trains(
    flags: tuple[str, ...], study: dict[str, Any], changed: list[str], before: Path
) -> None:
    later = tiny_plan(before, *flags, study=replace(ASKING, **study))
    record = study_record(later)
    names(changes(read_declaration(later.context.store, record), record), changed)


def test_a_setting_that_is_a_tuple_in_memory_is_no_difference(tmp_path: Path) -> None:
    base = STUDY.base.replace(schedule="multistep", milestones=(1,))
    study = replace(ASKING, base=base, arms={**STUDY.arms, "at": {"losses": {"at": Term(1.0, layers=(0, -1))}}})
    declared(tmp_path, "--seeds", "2", study=study)
    for flags, said in (((), ""), (("--limit", "70"), "other data, or another split of them")):
        plan = tiny_plan(tmp_path, "--seeds", "2", *flags, study=study)
        record = study_record(plan)
        declaration = read_declaration(plan.context.store, record)
        assert declaration is not None
        assert set(other_arms(agreed_of(declaration), record).values()) == ({said} if said else set())


def test_another_teacher_of_the_study_is_none_of_an_arm_that_has_its_own(tmp_path: Path) -> None:
    arms = {"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "at": {"losses": {"kd": 1.0}, "taught_by": ("self",)}}
    declared(tmp_path, "--seeds", "2", study=replace(ASKING, arms=arms))
    plan = tiny_plan(tmp_path, "--seeds", "2", "--teacher-width", "0.25", study=replace(ASKING, arms=arms))
    record = study_record(plan)
    declaration = read_declaration(plan.context.store, record)
    assert declaration is not None
    assert other_arms(agreed_of(declaration), record) == {"baseline": "another teacher", "kd": "another teacher"}


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("", [3, 5], ["the planned looks are at 3 and 5 seeds, and none were declared"]),
        ("2,5", [3, 5], ["the planned looks are at 3 and 5 seeds, and looks at 2 and 5 were declared"]),
        ("3,5", None, ["no looks are planned, and looks at 3 and 5 were declared"]),
        ("3,5", [3, 5], []),
    ],
)
def test_other_planned_looks_are_named(was: str, now: list[int] | None, said: list[str], tmp_path: Path) -> None:
    plan = declared(tmp_path, "--seeds", "5", *(("--looks", was) if was else ()))
    record = {**study_record(plan), "planned_looks": now}
    assert changes(read_declaration(plan.context.store, record), record) == said


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (("0-3",), ""),
        (("0-1", "0-3"), "at 2 seeds"),
        (("0-2,10", "0-3"), "at 3 seeds"),
        (("2-9", "0-3"), "at 2 seeds"),
        (("10-12", "0-3"), ""),
        (("0-3", "0-2", "0-3"), ""),
        (("0-5", "0-3"), ""),
    ],
)
def test_looks_at_some_of_the_declared_seeds_are_named(runs: tuple[str, ...], said: str, tmp_path: Path) -> None:
    declared(tmp_path, "--seeds", "4")
    for seeds in runs:
        facts = ran(tmp_path, "--seed-list", seeds)
    found = registered(facts)
    assert found is not None
    assert list(found.changes) == ([f"looked at before the declared seeds were done: {said}"] if said else [])


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"a": ["0-1"], "b": ["2"]}, []),
        ({"a": ["0", "0-1"], "b": ["2"]}, ["at 1 seed"]),
        ({"a": ["0-1", "0-2"], "b": ["5-6"]}, ["at 2 seeds"]),
        ({"a": ["0-2", "0-1", "0-2"]}, []),
        ({"a": ["7-8", "0-2"]}, []),
    ],
)
def test_a_merge_does_not_hide_looks_at_a_part(parts: dict[str, list[str]], said: list[str], before: Path) -> None:
    plan = tiny_plan(before, "--seeds", "3", study=ASKING)
    looks = [{"seeds": in_full(at), "part": part} for part, each in parts.items() for at in each]
    record = {**study_record(plan), "looks": [*looks, {"seeds": [0, 1, 2]}]}
    found = changes(read_declaration(plan.context.store, record), record)
    assert found == [f"looked at before the declared seeds were done: {one}" for one in said]


SEARCH = replace(SEARCHING, contrasts={"Is the winner better?": ("winner-1", "baseline")})


def running(plan: Plan) -> dict[str, Any]:
    """The content of study.json once the search of a plan has begun."""
    search, study = plan.study.search, study_record(plan)
    assert search is not None
    about = {name: getattr(search, name) for name in ("trials", "seed", "seeds", "sampler", "terminator", "winners")}
    about |= {"pruner": {"name": search.pruner_name} if search.judged_by else None, "constraints": None}
    about |= {"template": requested(plan.template)}
    objectives = dict.fromkeys(search.objectives, "maximize")
    return {**study, "search": about, "search_space": stored_space(search.space), "objectives": objectives}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a search is declared."""
    out = tmp_path_factory.mktemp("searched")
    declared(out, "--seeds", "2", study=SEARCH)
    return out


@pytest.mark.parametrize(
    ("flags", "search", "changed"),
    [
        ((), {}, []),
        (("--sampler", "random"), {}, ["the search's sampler is random, and tpe was declared"]),
        (("--pruner", "median"), {}, ["the search's pruner is median, and halving was declared"]),
        (("--trial-seeds", "2"), {}, ["the search's number of seeds is 2, and 1 was declared"]),
        (("--trials", "9"), {}, ["has 9 trials, and 7 were declared"]),
        (("--terminate", "3"), {}, ["the search's terminator is 3, and none was declared"]),
        ((), {"seed": 5}, ["the search's seed is 5, and 0 was declared"]),
        ((), {"winners": 1}, ["the search's number of winners is 1, and 2 was declared"]),
        ((), {"objectives": ("val_loss",)}, ["search's pruner is none", "the search's objectives are val_loss, and"]),
        ((), {"template": {"momentum": 0.5}}, ["the search does not run as declared: other momentum"]),
        (("--limit", "70"), {}, ["“at” do not run as declared: other data", "search does not run as declared: other"]),
    ],
)  # fmt: skip
def test_a_search_that_is_not_the_declared_one_is_named(
    flags: tuple[str, ...], search: dict[str, Any], changed: list[str], searched: Path
) -> None:
    assert SEARCH.search is not None
    study: Study = replace(SEARCH, search=replace(SEARCH.search, **search))
    plan = tiny_plan(searched, "--seeds", "2", *flags, study=study)
    record = running(plan)
    names(changes(read_declaration(plan.context.store, record), record), changed)


def test_winners_of_a_declared_search_are_not_later(tmp_path: Path) -> None:
    searching = replace(SEARCHING, contrasts={"Is the winner better?": ("winner-1", "baseline")})
    plan = declared(tmp_path, "--seeds", "2", study=searching)
    content = read_study(plan.context.store)["declaration"]
    assert content["rule"]["family"] == 1
    assert content["seeds"] == [1000, 1001]
    assert content["search"]["trials"] == 7
    record = study_record(plan)
    record["winners"] = {"winner-1": {"number": 0, "trial_id": "x", "params": {}}}
    record["plan"] += [{"arm": "winner-1", "seed": seed, "trial_id": f"w{seed}"} for seed in (1000, 1001)]
    record |= {"search_space": content["search"]["space"], "search": {"trials": 7}}
    declaration = read_declaration(plan.context.store, record)
    assert changes(declaration, record) == []
    other = {**record, "search_space": {"lr": {"low": 0.1, "high": 0.2}}, "search": {"trials": 9}}
    assert changes(declaration, other) == [
        "the search has another space than was declared",
        "the search has 9 trials, and 7 were declared",
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, []),
        ({"--interval": "0.05"}, ["added later: the interval of “kd” and “baseline” with a width of 0.05"]),
        ({"--between": "kd,at"}, ["added later: the interval of “kd” and “at”"]),
        ({"--between": "baseline,kd"}, []),
        ({"--max-seeds": "20"}, ["with at most 20 seeds"]),
        ({"--seeds": "6"}, ["added later: seed 5", "after the pilot 0–5"]),
        (None, ["declared, but not part of this run: the interval of “kd” and “baseline”"]),
    ],
)
def test_an_interval_that_is_not_the_declared_one_is_named(
    flags: dict[str, str] | None, said: list[str], tmp_path: Path
) -> None:
    stein = {"--seeds": "5", "--interval": "0.01", "--between": "kd,baseline", "--max-seeds": "8"}
    declared(tmp_path, *(word for pair in stein.items() for word in pair))
    now = {"--seeds": "5"} if flags is None else stein | flags
    plan = tiny_plan(tmp_path, *(word for pair in now.items() for word in pair), study=ASKING)
    record = study_record(plan)
    names(changes(read_declaration(plan.context.store, record), record), said)


def test_seeds_that_the_declared_rule_of_stein_adds_are_not_later(tmp_path: Path) -> None:
    stein = ("--seeds", "5", "--interval", "0.01", "--between", "kd,baseline", "--max-seeds", "8")
    plan = declared(tmp_path, *stein)
    record = study_record(tiny_plan(tmp_path, *stein, study=ASKING))
    for seed, arms in ((5, ("kd", "baseline")), (7, ("kd", "baseline"))):
        record["plan"] += [{"arm": arm, "seed": seed, "trial_id": f"{arm}{seed}"} for arm in arms]
    declaration = read_declaration(plan.context.store, record)
    assert changes(declaration, record) == []
    record["plan"] += [{"arm": "at", "seed": 5, "trial_id": "x"}, {"arm": "kd", "seed": 8, "trial_id": "y"}]
    assert changes(declaration, record) == ["added later: seeds 5, 8"]
