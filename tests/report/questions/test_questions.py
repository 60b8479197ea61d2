"""The panels together."""

from __future__ import annotations

from pathlib import Path

from scl.report.facts import gather
from scl.report.questions import PANELS
from tests.support.pages import built
from tests.support.synthetic import (
    ARMS,
    make_store,
)


def test_panels_stand_in_order_and_those_without_data_are_a_sentence(tmp_path: Path) -> None:
    page, _, study = built(make_store(tmp_path, ARMS[:1], [0]))
    shown = [panel(gather(study)) for panel in PANELS]
    assert [p.id for p in shown] == [
        "verdict", "declared", "setting", "recipe", "table", "against-baseline", "seeds", "teachers", "pairs", "curves",
        "loss-shares", "self-taught", "depth", "distilling", "images", "confusion", "cost", "search", "importance",
         "everything",
    ]  # fmt: skip
    assert [p.id for p in shown] == [panel.__module__.split(".")[-1].replace("_", "-") for panel in PANELS]
    empty = [p.id for p in shown if not p.blocks]
    assert empty == [
        "declared", "against-baseline", "seeds", "teachers", "pairs", "loss-shares", "self-taught", "depth", "images",
         "confusion", "cost",
        "search",
        "importance",
    ]  # fmt: skip
    for p in shown:
        assert p.answer.endswith((".", "!")), p.id
    drawn = {a["data-figure"].rsplit("-", 1)[0] for _, a in page.tags if "data-figure" in a}
    assert drawn == {"accuracy", "learning", "agreement"}
