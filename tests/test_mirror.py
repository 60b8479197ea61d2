"""Tests mirror the packages: scl/a/b.py has tests/a/test_b.py."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "scl"


def test_every_module_has_a_file_of_tests() -> None:
    """`__init__` and `__main__` alone have none: they re-export, and start `scl.cli.command`."""
    modules = [p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py") if not p.name.startswith("__")]
    assert len(modules) > 100
    wanted = {module: TESTS / module.parent / f"test_{module.name}" for module in modules}
    assert [f"scl/{module}: no {file.relative_to(TESTS)}" for module, file in wanted.items() if not file.exists()] == []


def test_every_folder_of_tests_belongs_to_a_package_or_stands_in_this_list() -> None:
    folders = {p.parent.relative_to(TESTS) for p in TESTS.rglob("test_*.py")}
    others = {Path("benchmarks"), Path("docs"), Path("studies")}  # of the repository's folders with these names
    assert {folder for folder in folders if not (PACKAGE / folder).is_dir()} == others


def test_every_file_of_tests_has_tests() -> None:
    assert [str(p) for p in TESTS.rglob("test_*.py") if "\ndef test_" not in p.read_text()] == []
