"""`scl predict`: classes on stdout, a table, and what cannot be read named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from scl.cli.command import main

Captured = pytest.CaptureFixture[str]


def test_classes_and_a_table(small: Path, tmp_path: Path, capsys: Captured) -> None:
    images = str(small.parents[1] / "images" / "test" / "class-1")
    assert main(["predict", str(small), "scl/0", images, "--top", "2", "--out", str(tmp_path / "p.csv")]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 10
    assert "images whose folder names a class are right" in err
    table = pd.read_csv(tmp_path / "p.csv")
    assert [*table] == ["image", "predicted", "error", "p.class-0", "p.class-1", "p.class-2"]
    assert table.filter(like="p.c").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    first = table.iloc[0]
    assert out.startswith(f"{first['image']}: {first['predicted']} {first['p.' + first['predicted']]:.1%}, ")
    assert main(["predict", str(small), "scl/0", images, "--out", str(tmp_path / "p.parquet")]) == 0
    again = pd.read_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(again.drop(columns="error"), table.drop(columns="error"), check_dtype=False)


def test_one_bad_image_is_named_and_the_code_is_1(small: Path, tmp_path: Path, capsys: Captured) -> None:
    Image.new("L", (12, 12)).save(tmp_path / "=1+1.png")
    Image.new("L", (9, 12)).save(tmp_path / "small.png")
    (tmp_path / "notes.txt").touch()
    assert main(["export", str(small), "scl/0", "--out", str(tmp_path / "s.safetensors")]) == 0
    assert main(["predict", str(tmp_path / "s.safetensors"), str(tmp_path), "--out", str(tmp_path / "p.csv")]) == 1
    err = capsys.readouterr().err
    assert "small.png: an image of 12×9 pixels, where 12×12 are wanted" in err
    assert "--fit crop, stretch or pad" in err
    assert "not read as images: 2 other files" in err
    assert pd.read_csv(tmp_path / "p.csv")["predicted"].isna().sum() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["STORE"], "name a student and images"),
        (["STORE", "scl/0"], "name a student and images"),
        (["STORE", "scl/0", "nowhere.png"], "no such file or folder"),
        (["STORE", "nosuch/0", "x.png"], "unknown trial"),
        (["STORE", "scl/0", "x.png", "--top", "0"], "--top: must be a whole number"),
        (["STORE", "scl/0", "x.png", "--fit", "squash"], "unknown fit"),
        (["STORE", "scl/0", "x.png", "--out", "p.xlsx"], r"valid: .csv, .parquet"),
        (["absent.safetensors", "x.png"], "no such file"),
    ],
)
def test_mistakes_are_refused(small: Path, arguments: list[str], message: str, capsys: Captured) -> None:
    assert main(["predict", *(str(small) if a == "STORE" else a for a in arguments)]) == 2
    assert message in capsys.readouterr().err
