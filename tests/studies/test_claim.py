"""The study of the claim: no arm wins by size, budgets are fair, and no search sees what is reported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scl.models.build import build_model, macs
from scl.store.results import load
from scl.study.config import Config
from scl.study.space import ranges
from tests.support.studies import asked, write_images

sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
import claim
import claim_search

SCALES = tuple(claim.STUDY.scales)


def sizes(config: Config) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one 32×32 image, of a network for CIFAR-100."""
    taught = {name: getattr(config, name) for name in ("self_taught", "self_taught_at", "self_taught_from", "guided")}
    model = build_model(config.model, 100, width=config.width, **taught)
    return sum(p.numel() for p in model.parameters()), macs(model, (3, 32, 32))


@pytest.mark.parametrize("scale", SCALES)
def test_every_student_is_smaller_than_its_teacher(scale: str) -> None:
    study, options = asked(claim.STUDY, "--scale", scale)
    arms, teacher = study.resolve(options.data, None, {}, {})
    assert options.teacher_per_seed
    assert study.against_teacher == claim.FULL
    limits = sizes(teacher)
    for name, config in arms.items():
        assert config.model == "plain5"
        assert all(mine < most for mine, most in zip(sizes(config), limits, strict=True)), name


@pytest.mark.parametrize("count", claim.WIDTHS)
def test_a_student_is_as_wide_as_its_count_allows(count: int) -> None:
    limits = sizes(Config(model="plain11", width=claim.SIZE.width))
    wider = sizes(Config(model="plain5", width=claim.WIDTHS[count] + 1 / 128, self_taught=count))
    assert any(mine >= most for mine, most in zip(wider, limits, strict=True))


def test_full_differs_from_its_controls_in_what_they_control() -> None:
    arms = claim.arms()
    full = arms[claim.FULL]
    assert arms[f"{claim.FULL} taken"] == {**full, "self_taught_from": "taken"}
    assert arms[f"{claim.FULL} all guided"] == {**full, "guided": "all"}
    assert arms["self-taught"] == {"self_taught": full["self_taught"], "width": full["width"]}
    counts = {arms[name]["self_taught"] for name in arms if name.startswith(claim.FULL)}
    assert counts == set(claim.WIDTHS)


@pytest.mark.parametrize("scale", claim_search.EPOCHS)
@pytest.mark.parametrize("method", claim_search.SPACES)
def test_a_search_is_as_long_as_its_parameters_ask_and_off_the_reported_seeds(method: str, scale: str) -> None:
    study, options = asked(claim_search.search(scale, method), "--scale", scale)
    search = study.search
    assert search is not None
    study.resolve(options.data, None, {}, {})  # refuses a space whose parameters do not exist
    assert search.trials == claim_search.TRIALS[scale] * len(claim_search.SPACES[method])
    assert options.val_share == 0.1
    reported = max(asked(claim.STUDY, "--scale", s)[0].seeds for s in SCALES)
    assert min(search.seed_range) >= reported
    if method in claim.CHOSEN:
        assert set(claim.CHOSEN[method]) == set(ranges(search.space))


@pytest.mark.slow
def test_a_search_ends_in_values_for_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "images", classes=4, size=32, grey=False, train=12, test=6)
    flags = ["--data", str(data), "--out", str(tmp_path / "out"), "--inline", "--limit", "40", "--epochs", "1"]
    flags += ["--teacher-epochs", "1", "--val", "0.25"]
    monkeypatch.setattr(sys, "argv", ["claim_search.py", *flags])
    with pytest.raises(SystemExit) as ended:
        claim_search.main()
    assert not ended.value.code
    printed = capsys.readouterr().out
    chosen: dict[str, object] = {}
    exec(printed[printed.rindex("CHOSEN = ") :], chosen)
    assert set(chosen["CHOSEN"]) == set(claim_search.SPACES)  # type: ignore[call-overload]
    count = chosen["CHOSEN"][claim.FULL]["self_taught"]  # type: ignore[index]
    assert count in claim.WIDTHS
    assert isinstance(count, int)
    trials = load(str(tmp_path / "out" / "claim_search-channel-spatial-kd-self-taught")).trials
    assert set(trials["seed"]) == {900, 901}
    widths = trials["param.self_taught"].map(claim.WIDTHS)
    assert (trials["param.width"] == widths).all()
