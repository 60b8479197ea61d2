"""Where a local Ray puts its files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.run.ray import temporary
from scl.run.ray.temporary import ray_folder

MINE = f"scl-{os.geteuid()}"
SYSTEMS = f"/tmp/{MINE}/ray"
LONG = "a-rather-long-name-of-a-folder/" * 4


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(temporary, "LONGEST", 107)


def test_by_default_it_is_in_the_systems_temporary_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert ray_folder() == SYSTEMS
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
    assert ray_folder() == SYSTEMS
    assert capsys.readouterr().err == f"Ray's files are in {SYSTEMS}: {name}={place} {reason}\n"


def test_a_place_that_can_be_used_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "LONGEST", 1000)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert ray_folder() == f"{tmp_path}/ray"
    monkeypatch.setenv("RAY_TMPDIR", "/var/tmp")
    assert ray_folder() == f"/var/tmp/{MINE}/ray"


def in_mode(path: Path, mode: int) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


def as_a_link(path: Path) -> None:
    in_mode(path.parent / "elsewhere", 0o700)
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize(
    ("mode", "there", "reason"),
    [
        (0o700, None, None),  # private: nothing is needed
        (0o755, None, None),
        (0o1777, None, None),
        (0o1777, lambda path: in_mode(path, 0o777), None),  # of this user, and mended
        (0o777, None, "lets everybody rename what is in it"),
        (0o1777, lambda path: path.touch(), "holds MINE, which is no folder of this user"),
        (0o1777, as_a_link, "holds MINE, which is no folder of this user"),
        pytest.param(
            0o1777,
            lambda path: os.chown(in_mode(path, 0o777), 65534, -1),
            "holds MINE, which is no folder of this user",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user"),
        ),
    ],
    ids=["private", "own", "sticky", "open", "no sticky", "a file", "a link", "of another user"],
)
def test_no_other_user_can_enter_it(  # type: ignore[no-untyped-def]
    mode: int, there, reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(temporary, "LONGEST", 1000)
    place = in_mode(tmp_path / "t", mode)
    monkeypatch.setenv("TMPDIR", str(place))
    if there:
        there(place / MINE)
    found = ray_folder()
    if reason is None:
        assert found == (f"{place}/ray" if mode == 0o700 else f"{place}/{MINE}/ray")
    else:
        assert found == SYSTEMS
        assert reason.replace("MINE", MINE) in capsys.readouterr().err
    assert Path(found).parent.stat().st_mode & 0o777 == 0o700


def test_without_any_place_the_error_names_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"TMPDIR=.* cannot be written to; /tmp cannot .*; set TMPDIR to .* --inline"):
        ray_folder()
