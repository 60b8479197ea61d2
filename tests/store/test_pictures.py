"""pictures.parquet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from scl.store.checksums import to_parquet
from scl.store.files import Folder, open_folder
from scl.store.pictures import MOST_BYTES, NAME, read_pictures, remove_pictures, type_of, write_pictures

PNG, JPEG = b"\x89PNG\r\n\x1a\n picture", b"\xff\xd8\xff picture"


@pytest.fixture(params=["disk", "object store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    (tmp_path / "store").mkdir()  # which an object store makes by itself
    here = open_folder(str(tmp_path / "store"))
    return here if request.param == "disk" else Folder(fs.SubTreeFileSystem(str(tmp_path), here.filesystem), "store")


def test_pictures_come_back_and_go(folder: Folder) -> None:
    assert read_pictures(folder) == {}
    assert not remove_pictures(folder)
    write_pictures(folder, {7: PNG, 3: JPEG})
    assert read_pictures(folder) == {7: PNG, 3: JPEG}
    write_pictures(folder, {})
    assert read_pictures(folder) == {}
    assert remove_pictures(folder)
    assert not folder.exists(NAME)


def test_only_small_pictures_are_read(folder: Folder) -> None:
    odd = {1: b"<svg onload=alert(1)>", 2: PNG + bytes(MOST_BYTES), 3: b"", 4: PNG}
    folder.write(NAME, to_parquet(pa.table({"image": list(odd), "picture": list(odd.values())})))
    assert read_pictures(folder) == {4: PNG}
    assert [type_of(p) for p in (PNG, JPEG, b"GIF89a")] == ["image/png", "image/jpeg", ""]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda content: content[:-20] + b"x" + content[-19:], "the page has no pictures"),
        (lambda content: content[: len(content) // 2], "it is cut off"),
        (lambda content: b"", "it is cut off"),
        (lambda content: to_parquet(pa.table({"picture": ["text"]})), "it has other columns than scl writes"),
    ],
)
def test_a_damaged_file_is_named_and_not_read(
    spoil: Callable[[bytes], bytes], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = open_folder(str(tmp_path))
    write_pictures(folder, {1: PNG})
    folder.write(NAME, spoil(folder.read(NAME)))
    assert read_pictures(folder) == {}
    assert told in capsys.readouterr().err


def test_a_folder_of_this_name_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / NAME).mkdir()
    assert read_pictures(open_folder(str(tmp_path))) == {}
    assert "pictures.parquet: it is a folder or a special file" in capsys.readouterr().err
