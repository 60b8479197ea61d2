"""The panel of a declaration: declared and later apart, and what a changed file looks like."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scl.report.blocks import Heading, Note, Pairs, Table
from scl.report.facts import Facts, gather
from scl.report.questions import declared as panel_of
from scl.report.questions import verdict
from scl.report.registered import said
from scl.report.results import Results
from scl.store.files import open_folder
from scl.store.results import read_results
from tests.support.declarations import declared, ran
from tests.support.pages import Page
from tests.support.plans import STUDY


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms, one contrast and two seeds are declared; an arm, a contrast and a seed came later."""
    out = tmp_path_factory.mktemp("declared")
    declared(out, "--seeds", "2", "--arms", "kd", study=replace(STUDY, contrasts={"Does KD help?": ("kd", "baseline")}))
    ran(out, "--seeds", "3")
    return out / "tiny"


def facts(store: Path) -> Facts:
    return gather(read_results(open_folder(str(store), reading=True)))


def test_what_was_declared_and_what_came_later_stand_apart(store: Path) -> None:
    panel = panel_of.panel(facts(store))
    (table,) = [block for block in panel.blocks if isinstance(block, Table)]
    assert [tuple(cell.shown for cell in row.cells) for row in table.rows] == [
        ("contrast", "Does KD help?", "declared"),
        ("contrast", "Is KD above AT?", "added later"),
        ("arm", "baseline", "declared"),
        ("arm", "kd", "declared"),
        ("arm", "at", "added later"),
        ("seeds", "0–1", "declared"),
        ("seeds", "2", "added later"),
    ]
    headings = [block.text for block in panel.blocks if isinstance(block, Heading)]
    assert headings == [
        "Answers at the declared rule", "What differs from the declaration", "Contrasts added later",
        "Declared and later",
    ]  # fmt: skip
    answers, later, about = [block.items for block in panel.blocks if isinstance(block, Pairs)]
    assert "over 2 seeds" in answers[0][1]
    assert "over 3 seeds" in later[0][1]
    assert dict(about)["Rule"].startswith("test accuracy, paired t by seed, two-sided")
    assert "3 things differ from the declaration" in panel.answer


def test_the_verdict_shows_the_declared_answers_first(store: Path) -> None:
    blocks = verdict.panel(facts(store)).blocks
    assert isinstance(blocks[0], Heading)
    assert blocks[0].text.startswith("What did the study declare on")
    assert isinstance(blocks[1], Pairs)
    assert "over 2 seeds" in blocks[1].items[0][1]


def test_a_changed_file_is_said_on_the_page_and_in_the_terminal(store: Path) -> None:
    file = store / "declared.json"
    text = file.read_text(encoding="utf-8")
    try:
        file.write_text(json.dumps(json.loads(text) | {"seeds": [0, 1, 2]}), encoding="utf-8")
        of = facts(store)
        notes, lines = [b.text for b in panel_of.panel(of).blocks if isinstance(b, Note)], said(of)
    finally:
        file.write_text(text, encoding="utf-8")
    wanted = "he hash in declared.json does not fit its content: the file was changed after it was written"
    assert any(wanted in note for note in notes)
    assert any(wanted in line for line in lines)


def test_a_study_without_a_declaration_says_how_to_make_one(plain: tuple[Page, str, Results]) -> None:
    panel = panel_of.panel(plain[2].facts)
    assert not panel.blocks
    assert "--declare before the first run" in panel.answer
