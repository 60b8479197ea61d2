"""The two pages that are made from the code are what the code says, and every example on them runs alone."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import pytest

import scl
from docs import reference

EXAMPLES = {
    name: example
    for names in reference.API.values()
    for name in names
    if (example := reference.docstring(name).sections.get("Example"))
}


@pytest.mark.parametrize("page", ["cli", "api"])
def test_a_page_is_what_the_code_says(page: str) -> None:
    made = {"cli": reference.cli_page, "api": reference.api_page}[page]()
    assert (reference.DOCS / f"{page}.md").read_text() == made, "run: uv run docs/reference.py"


def test_every_public_name_is_on_the_page() -> None:
    names = {name for names in reference.API.values() for name in names}
    modules = {name.rpartition(".")[0] for name in names}
    assert {f"scl.{name}" for name in scl.__all__} - {"scl.__version__"} <= names | modules
    assert len(names) == sum(map(len, reference.API.values()))


def test_every_study_is_on_the_page() -> None:
    assert {path.stem for path in reference.FOLDER.glob("*.py")} == set(reference.STUDIES)


def test_what_people_call_or_make_has_an_example() -> None:
    assert {name for names in reference.API.values() for name in names} - set(EXAMPLES) == {"scl.losses"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_alone(name: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "ablation").symlink_to(small)
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "example.py"
    script.write_text(EXAMPLES[name])
    runpy.run_path(str(script), run_name="example")


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (["study"], "does not describe options"),
        (["study", "options", "speed"], "describes what does not exist: speed"),
    ],
)
def test_a_description_that_lacks_or_invents_a_parameter_is_refused(
    described: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(f"        {name}: something.\n" for name in described)
    monkeypatch.setattr(scl.api.plan, "__doc__", f"A plan.\n\n    Args:\n{lines}    ")
    with pytest.raises(ValueError, match=message):
        reference.entry("scl.plan")


def test_a_flag_without_a_stated_default_is_refused() -> None:
    parser = argparse.ArgumentParser()
    action = parser.add_argument("--speed", metavar="F", help="how fast")
    with pytest.raises(ValueError, match=r"--speed F: its help ends without"):
        reference.default_of(action)
