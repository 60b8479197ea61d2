"""Where a local Ray puts its files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.run.ray import temporary
from scl.run.ray.temporary import ray_folder

LONG = "a-rather-long-name-of-a-folder/" * 4


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(temporary, "LONGEST", 107)


def test_by_default_it_is_rays_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert ray_folder() == "/tmp/ray"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: (path / LONG).mkdir(parents=True) or path / LONG, "is too long for the path of a socket"),
        (lambda path: path / "absent", "is no folder"),
        (lambda path: ((path / "file").write_text("") and path / "file") or path / "file", "is no folder"),
    ],
    ids=["long", "absent", "file"],
)
def test_a_place_that_cannot_be_used_is_replaced_and_named(  # type: ignore[no-untyped-def]
    name: str, make, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = make(tmp_path)
    monkeypatch.setenv(name, str(place))
    assert ray_folder() == "/tmp/ray"
    assert capsys.readouterr().err == f"Ray's files are in /tmp/ray: {name}={place} {reason}\n"


def test_a_place_that_can_be_used_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "LONGEST", 1000)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert ray_folder() == f"{tmp_path}/ray"
    monkeypatch.setenv("RAY_TMPDIR", "/var/tmp")
    assert ray_folder() == "/var/tmp/ray"


def test_without_any_place_the_error_names_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"TMPDIR=.* cannot be written to; /tmp cannot .*; set TMPDIR to .* --inline"):
        ray_folder()
