"""A study by each metric: its page, verdict, summary and the terminal, in the metric's direction and unit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scl.report import render
from scl.report.facts import Facts, gather
from scl.report.findings import declared_in_short, goals, lead, verdict
from scl.report.formatting import NATS, PERCENT
from scl.report.limits import limits
from scl.report.main_table import summary
from scl.report.paper_table import comma_separated, latex, markdown
from scl.report.questions import PANELS
from scl.report.results import read
from scl.report.scored import class_counts
from scl.run.summary import print_summary
from scl.store.files import Folder
from scl.study.metrics import METRICS
from tests.support.synthetic import ARMS, EFFECTS, accuracy, make_image_store, make_store, rewrite_trials

# By accuracy “channel+spatial” is best, by each other metric `spatial` is, which accuracy puts last.
OTHERS = {"balanced_acc": 0.6, "macro_f1": 0.55, "test_acc5": 0.9}
COUNTS = {"train": [900] + [100] * 9, "val": [90] + [10] * 9, "test": [180] + [20] * 9}


def made(folder: Path, metric: str, **study: Any) -> Folder:
    about = {"metric": metric, "direction": METRICS[metric].direction, "class_counts": COUNTS, **study}
    store = make_store(folder, ARMS, range(5), accuracy(EFFECTS), **about)

    def change(trials: Any) -> Any:
        worse = trials["test_acc"] - 0.7  # mirrored
        for name, base in OTHERS.items():
            trials[name], trials[f"teacher_{name}"] = base - worse, base + 0.03
        trials["test_loss"], trials["teacher_test_loss"] = 0.8 + worse, 0.75
        trials["file_bytes"] = 300_000 + trials["params"]
        return trials

    return rewrite_trials(store, change)


@pytest.fixture(scope="module")
def by_metric(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    return {name: made(tmp_path_factory.mktemp(name), name) for name in METRICS}


def facts_of(store: Folder) -> Facts:
    return gather(read(store))


@pytest.mark.parametrize(
    ("metric", "winner", "says"),
    [
        ("test_acc", "channel+spatial", "“channel+spatial” won with 72."),
        ("balanced_acc", "spatial", "Judged by test balanced accuracy: “spatial” won with 61."),
        ("macro_f1", "spatial", "Judged by test macro F1: “spatial” won with 56."),
        ("test_acc5", "spatial", "Judged by test top-5 accuracy: “spatial” won with 91."),
        ("test_loss", "spatial", "Judged by test log loss (lower is better): “spatial” won with 0.78"),
    ],
)
def test_the_best_arm_wins_in_the_direction_and_unit_of_the_metric(
    by_metric: dict[str, Folder], metric: str, winner: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = facts_of(by_metric[metric])
    found = lead(facts)
    assert found is not None
    assert (found.arm, found.won) == (winner, True)
    assert verdict(facts).startswith(says)
    unit, words = facts.unit, METRICS[metric].title
    assert unit is (NATS if metric == "test_loss" else PERCENT)
    side = "below" if metric == "test_loss" else "above"
    assert f" {unit.many} {side} the baseline" in verdict(facts)
    worse = {arm for arm, c in facts.contrasts.items() if facts.ahead(c.shown) < 0}
    assert worse == ({"spatial"} if metric == "test_acc" else {"kd", "channel", "channel+spatial"} & worse)
    table = summary(facts).set_index("arm")
    assert table[f"{metric}_mean"][winner] == pytest.approx(facts.scores[winner].mean())
    print_summary(facts)
    printed = " ".join(capsys.readouterr().out.split())
    assert says.partition(":")[0] in printed
    for write in (latex, markdown):
        assert words.removeprefix("test ") in write(facts).lower().replace("f1", "F1").replace("-", "-")
    assert f"{metric}_mean" in comma_separated(facts).partition("\n")[0]


@pytest.mark.parametrize("metric", list(METRICS))
def test_the_page_speaks_of_the_metric_alone(by_metric: dict[str, Folder], metric: str) -> None:
    page = render(read(by_metric[metric]))
    measure = METRICS[metric]
    assert f"{measure.title}, {measure.unit}" in page  # an axis
    assert f"{measure.title[0].upper()}{measure.title[1:]} after the last epoch" in page
    assert "The largest class has 900 training images, the smallest 100" in page
    assert len(page) < 9e6
    facts = facts_of(by_metric[metric])
    # Curves fall back to accuracy where the metric is not stored by epoch, and the last table lists accuracies too.
    panels = [str(make(facts)) for make in PANELS if not make.__module__.endswith((".curves", ".everything"))]
    assert any("est accuracy, %" in panel for panel in panels) == (metric == "test_acc")
    assert any("'nats above the baseline'" in panel for panel in panels) == (metric == "test_loss")
    assert any("'points above the baseline'" in panel for panel in panels) == (metric != "test_loss")


@pytest.mark.parametrize("metric", list(METRICS))
def test_every_panel_is_made_with_one_seed_and_without_results(tmp_path: Path, metric: str) -> None:
    for i, (arms, seeds) in enumerate(((["baseline", "kd"], [0]), (["baseline"], [0, 1]))):
        store = make_store(tmp_path / str(i), arms, seeds, metric=metric)
        facts = facts_of(store)
        assert [make(facts).id for make in PANELS]
        assert verdict(facts)


def test_the_order_of_ranks_rows_and_colours_follows_the_direction(by_metric: dict[str, Folder]) -> None:
    facts = facts_of(by_metric["test_loss"])
    panels = {panel.id: panel for panel in (make(facts) for make in PANELS)}
    rows = {plot.id: plot for panel in panels.values() for plot in panel.blocks if hasattr(plot, "figures")}
    assert next(iter(rows["accuracy"].table.rows)).arm == "spatial"
    assert next(iter(rows["ranks"].table.rows)).arm == "spatial"
    assert next(iter(rows["differences"].table.rows)).arm == "spatial"
    assert "spatial” has the lowest mean" in panels["seeds"].answer
    heat = rows["matrix"].figures[0]["data"][0]
    assert heat["z"][0][-1] == 1.0  # the best arm minus the worst is better, though its loss is lower
    front = rows["pareto"].table
    assert "spatial" in {row.arm for row in front.rows if row.cells[2].shown == "yes"}
    assert facts.detectable() > 0


@pytest.mark.parametrize(
    ("bounds", "broken", "winner"),
    [
        ({}, set(), "channel+spatial"),
        ({"params": 1e9}, set(), "channel+spatial"),
        ({"latency_ms": 1.285}, {"channel+spatial"}, "kd"),
        ({"params": 70_500.0}, {"kd", "channel", "channel+spatial"}, None),
        ({"macs": 1.0}, set(ARMS), None),
        ({"latency_ms": 1.285, "file_bytes": 371_500.0}, {"channel", "channel+spatial"}, "kd"),
    ],
)
def test_an_arm_that_breaks_a_constraint_is_never_crowned(
    tmp_path: Path, bounds: dict[str, float], broken: set[str], winner: str | None
) -> None:
    facts = facts_of(made(tmp_path, "test_acc", constraints=bounds))
    assert set(facts.breaking) == broken
    found = lead(facts)
    assert found is not None
    assert (found.arm if found.won else None) == winner
    said, about = verdict(facts), dict(limits(facts)).get("Constraints", "")
    assert not any(f"“{arm}” won" in said for arm in broken)
    if bounds:
        assert all(f"{name} ≤ " in about for name in bounds)
        assert all(f"“{arm}”" in about for arm in broken)
        assert "Constraint: " in render(facts.results)
    else:
        assert about == ""


def test_an_unknown_cost_is_not_kept(tmp_path: Path) -> None:
    store = rewrite_trials(
        made(tmp_path, "test_acc", constraints={"latency_ms": 5.0}), lambda t: t.assign(latency_ms=np.nan)
    )
    facts = facts_of(store)
    assert set(facts.breaking.values()) == {"latency_ms unknown"}
    assert not lead(facts).won  # type: ignore[union-attr]


def test_metrics_by_class_of_old_trials_come_from_their_predictions(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(4), [60, 20, 10, 10])
    named = {
        (a, s): np.where(np.arange(100) % (7 + s + 3 * (a == "kd")), labels, 0)
        for a in ("baseline", "kd")
        for s in range(3)
    }
    store = make_image_store(tmp_path, named, labels, np.zeros(100, dtype=int), metric="balanced_acc")
    facts = facts_of(store)
    at = {key: np.mean([(of[labels == k] == k).mean() for k in range(4)]) for key, of in named.items()}
    assert facts.scores["kd"].tolist() == pytest.approx([at["kd", s] for s in range(3)])
    assert facts.teacher == 0.25
    assert list(class_counts(facts.results)) == [60, 20, 10, 10]
    assert facts.chance == 0.25
    assert gather(read(make_image_store(tmp_path / "acc", named, labels, None))).chance == 0.6


def test_a_network_that_names_the_largest_class_has_collapsed_and_one_that_weighs_classes_alike_has_not(
    tmp_path: Path,
) -> None:
    level = {"baseline": 0.94, "constant": 0.901, "weighted": 0.88}
    balanced = {"baseline": 0.8, "constant": 0.1, "weighted": 0.85}
    counts = {"test": [900] + [11] * 9}
    store = make_store(
        tmp_path, list(level), range(3), lambda arm, seed: level[arm] + 0.001 * seed, class_counts=counts
    )
    facts = facts_of(rewrite_trials(store, lambda t: t.assign(balanced_acc=t["arm"].map(balanced))))
    assert facts.chance == pytest.approx(900 / 999)
    assert list(facts.collapsed) == ["constant"]
    assert "look at balanced accuracy" in dict(limits(facts))["Class sizes"]


def test_a_loss_above_chance_is_no_collapse(tmp_path: Path) -> None:
    store = rewrite_trials(made(tmp_path, "test_loss"), lambda t: t.assign(test_loss=t["test_loss"] + 5))
    facts = facts_of(store)
    assert facts.collapsed == {}
    assert facts.chance < 2.4 < facts.scores.min().min()
    assert math.isfinite(facts.floor)


def test_a_metric_chosen_late_is_told(tmp_path: Path) -> None:
    facts = facts_of(made(tmp_path, "macro_f1", metric_seen=[0], metric_after_look=True))
    assert "chosen after results were seen" in dict(limits(facts))["Metric"]


@pytest.mark.parametrize(
    ("metric", "arm", "said"),
    [
        ("test_acc", "channel+spatial", "“{arm}” − “baseline”: shown, above 0: +"),
        ("test_loss", "channel+spatial", "“{arm}” − “baseline”: shown, above 0, where lower is better: +"),
        ("test_loss", "spatial", "“{arm}” − “baseline”: shown, below 0, where lower is better: −"),
        ("test_acc", "spatial", "“{arm}” − “baseline”: shown, below 0: −"),
    ],
)
def test_a_declared_question_tells_the_better_side(tmp_path: Path, metric: str, arm: str, said: str) -> None:
    asked = [{"question": "Does it help?", "weights": {arm: 1.0, "baseline": -1.0}}]
    facts = facts_of(made(tmp_path, metric, contrasts=asked))
    assert said.format(arm=arm) in " ".join(goals(facts))
    asked.append({"question": "Again?", "weights": {arm: 1.0, "baseline": -1.0}})
    facts = facts_of(made(tmp_path / "two", metric, contrasts=asked))
    side = said.split("shown, ")[1].split(":")[0]
    words = "Does it help?" if side == "above 0" else f"Does it help? ({side})"
    assert words in declared_in_short(facts)
