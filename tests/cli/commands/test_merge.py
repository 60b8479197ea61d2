"""`scl merge`: its arguments and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.cli.command import main
from scl.store.results import load


def test_one_store_is_copied_and_its_place_is_named_once(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(small), "--out", str(tmp_path / "all")]) == 0
    assert load(str(tmp_path / "all" / "small")).study["command"] == f"scl merge {small} --out {tmp_path / 'all'}"
    assert main(["merge", str(small), "--out", str(tmp_path / "all")]) == 2
    assert main(["merge", str(small), str(small), "--out", str(tmp_path / "other")]) == 2
    assert "name each store once" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["merge", str(small)])
