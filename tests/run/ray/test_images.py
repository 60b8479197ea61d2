"""Images of a large set on other nodes: the driver's file, or a copy."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scl.data.stored import Pixels, StoredImages
from scl.errors import RunFailed
from scl.run.ray import images as module
from scl.run.ray.images import images_function, on_driver
from tests.support.images import noise, stored

PIXELS = noise((40, 3, 6, 5))


def on_this_node(images: Mapping[str, Pixels]) -> dict[str, Pixels]:
    """The images of parts as `scl.plan.context` makes tensors of them."""
    return {part: of.here() if isinstance(of, StoredImages) else of for part, of in images.items()}


class Calls:
    """A client of a driver in this process, whose files workers see under other names."""

    def __init__(self, images: Mapping[str, Pixels], there: str) -> None:
        self.function, self.there, self.count = images_function(images), there, 0

    def __call__(self, name: str, path: str, start: int, count: int) -> Any:
        assert name == "images"
        self.count += 1
        return self.function(path.replace("/of-driver/", self.there), start, count)


@pytest.fixture
def entry(tmp_path: Path) -> StoredImages:
    folder = tmp_path / "driver" / "entry"
    folder.mkdir(parents=True)
    return stored(PIXELS, folder)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "CHUNK", 700)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "node")
    return tmp_path / "node" / ".cache" / "scl"


def on_other_node(images: StoredImages) -> tuple[dict[str, Pixels], Calls]:
    """The images of two parts as workers get them that do not see the driver's folder."""
    parts: dict[str, Pixels] = {"train": images.take(np.arange(5, 30)), "test": noise((2, 3, 6, 5), 1)}
    client = Calls(parts, str(Path(images.path).parents[1]) + "/")
    sent = on_driver(parts, client)  # type: ignore[arg-type]
    path = f"/of-driver/{Path(images.path).parent.name}/{Path(images.path).name}"
    return {**sent, "train": replace(sent["train"], path=path)}, client  # type: ignore[type-var]


def test_a_worker_that_sees_the_file_reads_it(entry: StoredImages, node: Path) -> None:
    sent = on_driver({"train": entry}, None)  # type: ignore[arg-type]
    found = on_this_node(sent)["train"]
    assert type(found) is StoredImages
    assert found.path == entry.path
    assert not node.exists()


def test_another_node_gets_one_copy_in_chunks(entry: StoredImages, node: Path) -> None:
    sent, client = on_other_node(entry)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(on_this_node, [sent] * 4))
    for parts in found:
        np.testing.assert_array_equal(parts["train"][:], PIXELS[5:30])
        np.testing.assert_array_equal(parts["test"], noise((2, 3, 6, 5), 1))
    assert client.count == -(-Path(entry.path).stat().st_size // 700) + 1  # and one at the end of the file
    assert [p.name for p in node.iterdir() if p.suffix == ".npy"] == ["entry-images.npy"]


def test_a_damaged_copy_is_replaced(entry: StoredImages, node: Path) -> None:
    sent, client = on_other_node(entry)
    on_this_node(sent)
    copy, before = node / "entry-images.npy", client.count
    copy.write_bytes(copy.read_bytes()[:-2000])
    np.testing.assert_array_equal(on_this_node(sent)["train"][:], PIXELS[5:30])
    assert client.count == 2 * before


def test_a_node_without_room_says_so(entry: StoredImages, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, client = on_other_node(entry)

    def full(*arguments: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(client, "function", full)
    with pytest.raises(RunFailed, match=r"the decoded images \(images\.npy\) cannot be copied to .*; make room there"):
        on_this_node(sent)


def test_the_driver_gives_no_other_file(entry: StoredImages, tmp_path: Path) -> None:
    other = tmp_path / "secret"
    other.write_text("password")
    function = images_function({"train": entry})
    with pytest.raises(PermissionError, match="holds no images of this run"):
        function(str(other), 0, 100)
    assert function(entry.path, 0, 6) == b"\x93NUMPY"
