"""The arms that a figure draws."""

from __future__ import annotations

from pathlib import Path

from scl.report.drawing import arms as drawing
from tests.support.synthetic import accuracy, gathered, make_store


def test_the_highest_arms_and_the_baseline_are_drawn(tmp_path: Path) -> None:
    names = [f"a{i}" for i in range(drawing.MOST_ARMS_DRAWN + 5)]
    facts = gathered(
        make_store(tmp_path, names, [0], accuracy({a: 0.001 * i for i, a in enumerate(names)}, spread=0.0))
    )
    drawn = drawing.highest(facts, names)
    assert drawn == [*names[: -drawing.MOST_ARMS_DRAWN : -1], "a0"]
    assert drawing.highest(facts, names[:3]) == ["a2", "a1", "a0"]


def test_captions_name_what_is_not_drawn(tmp_path: Path) -> None:
    facts = gathered(make_store(tmp_path, ["a", "b"], range(2), accuracy({"a": 0.0, "b": -0.6})))
    assert drawing.not_drawn(facts) == " Not drawn, because it would squeeze all others: “b”."
    assert drawing.beyond(0) == ""
    assert "2 lower arms" in drawing.beyond(2)
