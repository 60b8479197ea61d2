"""The headline study: its scales, its one declared comparison, and where its weights come from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scl.cli.flags import parsed
from scl.errors import UserError
from scl.models.build import build_model, macs
from scl.plan.plan import make_plan
from scl.run import run
from scl.store.files import open_folder
from scl.store.results import load
from scl.store.study_file import read_study
from scl.study.config import Config
from scl.study.options import Options
from scl.study.params import with_params
from scl.study.scales import Scale
from scl.study.study import Study
from tests.support.studies import SMALL, asked, write_images

sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
import headline
import headline_search

SCALES = tuple(headline.SIZES)


def sized(study: Study, *flags: str) -> tuple[Study, Options]:
    return asked(study, *flags)


def size_of(config: Config) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one 32×32 image, of a network for CIFAR-100."""

    taught = {name: getattr(config, name) for name in ("self_taught", "self_taught_at", "self_taught_from", "guided")}
    model = build_model(config.model, 100, width=config.width, **taught)
    return sum(p.numel() for p in model.parameters()), macs(model, (3, 32, 32))


@pytest.mark.parametrize("scale", SCALES)
def test_a_scale_resolves_with_all_its_arms(scale: str) -> None:
    study, options = sized(headline.STUDY, "--scale", scale)
    arms, teacher = study.resolve(options.data, None, {}, {})
    assert options.data == "cifar100"
    assert options.val_share == 0
    assert options.teacher_per_seed
    assert teacher.model == "plain11"
    assert teacher.epochs >= arms[headline.FULL].epochs
    assert {config.model for config in arms.values()} == {"plain5", "plain11"}
    assert {"baseline", "kd", "self-taught", "dkd", "plain11 kd", headline.FULL} <= set(arms)
    if scale != "smoke":
        assert set(headline.factorial()) <= set(arms)
        assert len(headline.factorial()) == 16
        assert {f"{headline.FULL} all guided", f"{headline.FULL} taken", "x1 baseline", f"x3 {headline.FULL}"} <= set(
            arms
        )
    assert len(arms) == {"smoke": len(headline.CORE), "laptop": 29, "full": 60}[scale]
    assert study.seeds == {"smoke": 2, "laptop": 3, "full": 5}[scale]


@pytest.mark.parametrize("scale", SCALES)
def test_the_declared_student_is_smaller_than_its_teacher_with_any_count_that_is_searched(scale: str) -> None:
    study, options = sized(headline.STUDY, "--scale", scale)
    arms, teacher = study.resolve(options.data, None, {}, {})
    assert arms[study.against_teacher].model == "plain5"
    assert arms[study.against_teacher].width == headline.PRIMARY * teacher.width
    limits = size_of(teacher)
    for k in (arms[study.against_teacher].self_taught, *headline.SIZES[scale].counts):
        for mine, most in zip(size_of(arms[study.against_teacher].replace(self_taught=k)), limits, strict=True):
            assert mine < most


@pytest.mark.parametrize("scale", SCALES)
def test_every_method_with_weights_is_searched_equally_long_and_off_the_reported_seeds(scale: str) -> None:
    study, _ = sized(headline.STUDY, "--scale", scale)
    searched = {}
    for method in headline_search.searchable(scale):
        alone, on = sized(headline_search.search(scale, method), "--scale", scale)
        assert alone.search is not None
        alone.resolve(on.data, None, {}, {})  # refuses a space whose parameters do not exist
        searched[method] = alone.search
        assert on.val_share == 0.1
        assert alone.search.seed not in range(study.seeds)
        assert alone.search.winners == 0
        assert dict(alone.teacher.__dict__) == dict(study.teacher.__dict__)
    assert len({search.trials for search in searched.values()}) == 1
    arms, _ = study.resolve("cifar100", None, {}, {})
    assert set(searched) == (set(headline.methods(headline.SIZES[scale])) & set(arms)) - {"baseline"}
    for method, weights in headline.WEIGHTS[scale].items():
        assert set(weights) == set(searched[method].space), method


def test_weights_reach_every_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(headline.WEIGHTS, "laptop", {headline.FULL: {"weight.channel": 7.0, "self_taught": 1}})
    arms = headline.arms("laptop")
    for name in (headline.FULL, f"x1 {headline.FULL}", f"x3 {headline.FULL}", f"{headline.FULL} taken"):
        config = with_params(headline.BASE, arms[name])
        assert config.losses["channel"].weight == 7.0
        assert config.losses["channel"].layers == headline.SIZES["laptop"].layers
        assert config.self_taught == 1
    assert with_params(headline.BASE, arms["channel+kd"]).losses["channel"].weight == 0.3


def test_flags_stand_above_the_scale() -> None:
    study, options = sized(headline.STUDY, "--scale", "laptop", "--limit", "50", "--val", "0.2", "--epochs", "3")
    assert (options.limit, options.val, options.data) == (50, 0.2, "cifar100")
    arms, _ = study.resolve(options.data, None, options.student_changes(), {})
    assert arms["kd"].epochs == 3
    assert sized(headline.STUDY, "--data", "here")[1].data == "here"
    assert sized(headline.STUDY, "--seeds", "9")[1].seeds == 9


def test_scales_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown scale 'huge'.*smoke, laptop, full"):
        sized(headline.STUDY, "--scale", "huge")
    with pytest.raises(UserError, match="--scale is for studies with scales"):
        sized(SMALL, "--scale", "smoke")
    with pytest.raises(UserError, match="against_teacher"):
        Study(name="s", question="?", arms={"baseline": {}}, against_teacher="kd")


def test_a_scale_without_arms_has_those_of_the_study() -> None:
    study = Study(
        name="s",
        question="?",
        arms={"baseline": {}, "slow": {"epochs": 90}},
        scales={"small": Scale(student={"epochs": 2}, without=("slow",)), "large": Scale(teacher={"width": 2.0})},
    )
    arms, _ = study.at("small").resolve("digits", None, {}, {})
    assert set(arms) == {"baseline"}
    assert arms["baseline"].epochs == 2
    assert set(study.at("small").resolve("digits", ["slow"], {}, {})[0]) == {"baseline", "slow"}
    arms, teacher = study.at("large").resolve("digits", None, {}, {})
    assert set(arms) == {"baseline", "slow"}
    assert teacher.width == 2


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(
        tmp_path_factory.mktemp("headline") / "images", classes=4, size=32, grey=False, train=12, test=6
    )


def test_smoke_runs_and_declares_before_it_trains(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--inline", "--limit", "48", "--epochs", "1", "--teacher-epochs", "1", "--arms", f"kd,{headline.FULL}")
    study, options = sized(headline.STUDY, "--data", str(pictures), "--out", str(tmp_path), *flags)
    before: list[object] = []
    train = run.train_teachers

    def teachers(*given: object) -> bool:
        before.append(read_study(open_folder(str(tmp_path)) / "headline")["declared"])
        return train(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "train_teachers", teachers)
    assert run.run_study(study, options) == 0
    assert before == [{"arm": headline.FULL, "against": "teacher"}]
    read = load(str(tmp_path / "headline"))
    assert len(set(read.trials["teacher_id"])) == 2
    assert read.study["scale"] == "smoke"
    said = "Declared before the run: does “" + headline.FULL
    assert said in capsys.readouterr().out
    assert said.split("“")[0] in (tmp_path / "headline" / "report.html").read_text()


def test_a_search_prints_weights_that_can_be_pasted(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--inline", "--limit", "40", "--epochs", "1", "--teacher-epochs", "1", "--val", "0.25"]
    options = parsed(
        headline_search.STUDY, "headline_search.py", ["--data", str(pictures), "--out", str(tmp_path), *flags]
    )
    assert headline_search.search_all(options, ["kd", "self-taught"]) == 0
    printed = capsys.readouterr().out
    weights: dict[str, dict[str, dict[str, float]]] = {}
    exec(printed[printed.index("WEIGHTS[") :], {"WEIGHTS": weights})
    assert set(weights["smoke"]["kd"]) == {"ce", "weight.kd", "kd.temperature"}
    assert set(weights["smoke"]["self-taught"]) == {"self_taught"}
    read = load(str(tmp_path / "headline_search-kd"))
    assert set(read.trials["seed"]) == {headline_search.SEED}
    best = read.trials[read.trials["val_acc"] == read.trials["val_acc"].max()]  # of equals the lower loss decides
    assert any(weights["smoke"]["kd"]["weight.kd"] == pytest.approx(w, rel=0.01) for w in best["param.weight.kd"])
    assert headline_search.search_all(options, ["kd"]) == 0  # goes on: nothing is trained again
    assert len(load(str(tmp_path / "headline_search-kd")).trials) == len(read.trials)
    with pytest.raises(UserError, match="unknown method 'kdd'"):
        headline_search.search_all(options, ["kdd"])


def test_a_search_keeps_its_seed_and_its_ids(pictures: Path, tmp_path: Path) -> None:
    alone, options = sized(headline_search.search("smoke", "kd"), "--data", str(pictures), "--out", str(tmp_path))
    plan = make_plan(alone, options.__class__(**{**options.__dict__, "limit": 40}), open_folder(str(tmp_path)))
    assert plan.seeds == []
    assert plan.trials == []
    assert set(plan.teacher_ids) == {headline_search.SEED}
