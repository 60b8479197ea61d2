"""What Python code calls: `scl.run`, `scl.plan`, `scl.load`, with the options that the flags have."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scl

TINY: dict[str, Any] = {"inline": True, "limit": 60, "epochs": 1, "teacher_epochs": 1}
STUDY = scl.Study(
    "library",
    "Does it answer?",
    arms={"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "at": {"losses": {"at": 10.0}}},
    base=scl.Config(model="plain3", width=0.125, batch_size=32, lr=0.05),
    teacher=scl.Config(model="plain5", width=0.125, batch_size=32, lr=0.05),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def results(out: Path) -> Any:
    return scl.run(STUDY, seeds=2, out=out, **TINY)


def test_every_public_name_is_there() -> None:
    for name in scl.__all__:
        assert getattr(scl, name) is not None
    assert scl.__version__
    with pytest.raises(AttributeError, match="Study"):
        _ = scl.Studdy


def test_run_returns_what_load_gives(results: Any, out: Path) -> None:
    assert results.trials.equals(scl.load(str(out / "library")).trials)
    assert set(results.trials["arm"]) == {"baseline", "kd", "at"}
    assert len(results.trials) == 6
    assert len(results.epochs) == 6
    assert results.study["command"].startswith("scl.run(study, seeds=2")
    assert list(results.summary()["arm"])
    assert "baseline" in results.verdict()
    assert "baseline" in results._repr_html_()


def test_a_figure_of_a_panel_is_plotlys(results: Any) -> None:
    figure = results.figure("verdict")
    assert type(figure).__module__.startswith("plotly")
    with pytest.raises(scl.UserError, match=r"valid: .*verdict"):
        results.figure("verdikt")


def test_again_trains_nothing_and_a_plan_counts_it(results: Any, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = scl.plan(STUDY, seeds=3, out=out, **TINY)
    assert (plan.trials, plan.done, plan.missing) == (9, 6, 3)
    assert plan.device_seconds > 0
    assert "9 = 3 arms × 3 seeds" in str(plan)
    capsys.readouterr()
    again = scl.run(STUDY, seeds=2, out=out, **TINY)
    assert "nothing to train" in capsys.readouterr().err
    assert set(again.trials["trial_id"]) == set(results.trials["trial_id"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sedes": 3}, "unknown option 'sedes' .did you mean 'seeds'.*valid: seeds"),
        ({"trials": 3}, "trials is for studies with a search, and study 'library' has none; valid: arms, "),
        ({"scale": "full"}, "scale is for studies with scales, and study 'library' has none; valid: arms, "),
        ({"seeds": "three"}, "seeds: must be a whole number of 1 to 100,000, got 'three'"),
        ({"seeds": True}, "seeds: must be a whole number"),
        ({"seeds": 2.5}, "seeds: must be a whole number"),
        ({"lr": -1}, "lr: must be a finite number, above 0"),
        ({"inline": "yes"}, "inline: must be True or False"),
        ({"arms": 3}, "arms: must be names"),
        ({"arms": "kdd"}, "unknown arm 'kdd' .did you mean 'kd'"),
        ({"set": {"wieght.kd": 1}}, "unknown name 'wieght.kd' .did you mean 'weight.kd'.*valid: weight.kd"),
        ({"set": "weight.kd="}, "--set weight.kd: must be a finite number, got ''"),
        ({"set": "weight.kd"}, "must be NAME=VALUE"),
        ({"set": {"teacher.nosuch": 1}}, "unknown name 'teacher.nosuch'.*valid: teacher."),
        ({"set": {"lr": "fast"}}, "--set lr: must be a finite number, got 'fast'"),
        ({"set": {"epochs": "0"}}, "epochs must be finite, 1 or more"),
        ({"set": {"weight.sp": 1}}, "'weight.sp': no arm of this run has the loss 'sp'"),
        ({"set": "lr=1,lr=2"}, "set: lr is given twice"),
        ({"plan": True}, "scl.plan"),
        ({"data": "digitz"}, "unknown data 'digitz' .did you mean 'digits'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"teacher": "nowhere.pt"}, "no such file"),
    ],
)
def test_mistakes_are_user_errors_that_name_the_valid(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(scl.UserError, match=message):
        scl.run(STUDY, **{**TINY, "out": tmp_path / "out", **options})
    assert not (tmp_path / "out" / "library" / "trials.parquet").exists()


def test_calls_that_make_no_sense_are_user_errors(results: Any, tmp_path: Path) -> None:
    for call in (
        lambda: scl.run("studies/ablation.py", out=tmp_path),
        lambda: scl.plan({"baseline": {}}, out=tmp_path),
        lambda: scl.plan(STUDY, report_only=True, out=tmp_path),
        lambda: scl.load(3),
        lambda: scl.load(None),
        lambda: results.figure(1),
        lambda: results.figure("verdict", "first"),
    ):
        with pytest.raises(scl.UserError):
            call()


def test_results_are_read_from_a_path_object(results: Any, out: Path) -> None:
    assert scl.load(out / "library").trials.equals(results.trials)


def test_set_reaches_fields_weights_options_and_the_teacher(tmp_path: Path) -> None:
    """Through the checks that a study file gets, from text and from Python's values alike."""
    out = scl.run(
        STUDY, out=tmp_path, seeds=1,
        set={"weight.kd": np.float64(2), "kd.temperature": "2", "weight_decay": 0, "teacher.width": "0.0625"}, **TINY,
    )  # fmt: skip
    rows = out.trials.set_index("arm")
    assert rows.loc["kd", "param.weight.kd"] == 2.0
    assert rows.loc["kd", "param.kd.temperature"] == 2.0
    assert set(rows["param.weight_decay"]) == {0.0}
    assert np.isnan(rows.loc["at", "param.weight.kd"])  # an arm without the loss does not get it
    assert out.study["teacher"]["config"]["width"] == 0.0625
    written = scl.Study(
        "library", "?",
        arms={"baseline": {}, "kd": {"losses": {"kd": scl.Term(2.0, options={"temperature": 2})}}},
        base=STUDY.base.replace(weight_decay=0.0), teacher=STUDY.teacher.replace(width=0.0625),
    )  # fmt: skip
    same = scl.plan(written, out=tmp_path, seeds=1, **TINY)
    assert same.missing == 0  # the very trials of a study file that says the same


def test_a_run_in_a_thread(tmp_path: Path) -> None:
    """No signal handlers can be set there."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(scl.run(STUDY, seeds=1, arms="kd", out=tmp_path, **TINY)))
    thread.start()
    thread.join()
    assert len(found[0].trials) == 2


def test_importing_scl_is_light() -> None:
    code = (
        "import sys, scl; scl.Study('a', '?', {'baseline': {}}); scl.Config(); scl.designs.grid; "
        "heavy = {'torch', 'ray', 'pandas', 'optuna', 'plotly', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
