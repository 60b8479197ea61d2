"""The files of torch.save, read as data: the tensors that were saved, and nothing that a file invents."""

from __future__ import annotations

import io
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from scl.train.archive import open_archive
from scl.train.inert import Claim

BASE = torch.arange(12, dtype=torch.float32)
SAVED: dict[str, torch.Tensor] = {
    "plain": BASE.reshape(3, 4),
    "view": BASE.reshape(3, 4)[1:, ::2],
    "turned": BASE.reshape(3, 4).T,
    "half": BASE.half(),
    "brain": BASE.bfloat16(),
    "whole": torch.arange(5),
    "scalar": torch.tensor(2.5),
    "empty": torch.empty(0, 3),
    "parameter": torch.nn.Parameter(BASE.clone()),
}


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_back_as_they_were_saved(tmp_path: Path, zipped: bool) -> None:
    about = {"model": SAVED, "args": Namespace(lr=0.1), "epoch": 3}
    torch.save(about, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    archive = open_archive(tmp_path / "c.pt", "c.pt")
    claims = archive.tree["model"]
    assert all(isinstance(claim, Claim) for claim in claims.values())
    assert archive.tree["epoch"] == 3
    found = archive.tensors(claims)
    for name, tensor in SAVED.items():
        assert torch.equal(found[name], tensor.detach()), name
        assert found[name].dtype == tensor.dtype


def archive_of(content: Any, change: dict[str, bytes] | None = None) -> bytes:
    """The bytes of torch.save, with members replaced."""
    buffer, out = io.BytesIO(), io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for member in old.namelist():
            replaced = next((b for end, b in (change or {}).items() if member.endswith(end)), None)
            new.writestr(member, old.read(member) if replaced is None else replaced)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        archive_of({"w": BASE}, {"data/0": b"\0" * 8}),
        archive_of({"w": BASE})[:-400],
        archive_of({"w": BASE}, {"data.pkl": b"\x80\x02c"}),
        archive_of({"w": BASE}, {"data.pkl": b""}),
    ],
    ids=["short storage", "cut off", "broken pickle", "empty pickle"],
)
def test_what_a_file_does_not_hold_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.pt").write_bytes(content)

    def read() -> None:
        archive = open_archive(tmp_path / "c.pt", "c.pt")
        archive.tensors(archive.tree)

    with pytest.raises(Exception, match=r".*") as refused:  # of any type: `scl.train.weights` says what it means
        read()
    assert not isinstance(refused.value, MemoryError)


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_that_a_file_names_is_called(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "mark"
    torch.save({"model": {"w": BASE}, "x": Evil(mark)}, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    archive = open_archive(tmp_path / "c.pt", "c.pt")
    assert torch.equal(archive.tensors(archive.tree["model"])["w"], BASE)
    assert not mark.exists()
