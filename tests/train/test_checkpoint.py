"""Checkpoints: what is written is read back, damage is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from scl.errors import Damaged
from scl.store.files import open_folder
from scl.train import checkpoint
from tests.support.checkpoints import nested


def test_flipped_bit_in_a_checkpoint_is_noticed() -> None:
    content = bytearray(checkpoint.pack({"w": torch.arange(100.0)}, {"epoch": 1}))
    assert checkpoint.unpack(bytes(content))[1] == {"epoch": 1}
    content[-3] ^= 1
    with pytest.raises(Damaged):
        checkpoint.unpack(bytes(content))


def test_the_last_two_epochs_stay_and_a_damaged_one_is_set_aside(tmp_path: Path) -> None:
    files = open_folder(str(tmp_path))
    for epoch in (1, 2, 3):
        checkpoint.save_epoch(files, epoch, {"w": torch.full((3,), float(epoch))}, {"epoch": epoch})
    names = [name for name in files.names() if name.startswith("epoch-")]
    assert names == ["epoch-00002.safetensors", "epoch-00003.safetensors"]
    (tmp_path / names[-1]).write_bytes(files.read(names[-1])[:-1])
    found = checkpoint.load_last_epoch(files)
    assert found is not None
    assert (found[0]["w"].tolist(), found[1]) == ([2.0] * 3, {"epoch": 2})
    assert names[-1] not in files.names()
    checkpoint.drop_epochs(files)
    assert checkpoint.load_last_epoch(files) is None


def test_a_changed_record_is_noticed() -> None:
    content = checkpoint.pack({"w": torch.arange(3.0)}, {"epoch": 1})
    with pytest.raises(Damaged, match="record"):
        checkpoint.unpack(content.replace(b'{\\"epoch\\": 1}', b'{\\"epoch\\": 2}'))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, "type NoneType"),
        ([], "type list"),
        (3, "type int"),
        ("text", "type str"),
        (True, "type bool"),
    ],
)
def test_a_record_is_an_object(record: object, message: str) -> None:
    with pytest.raises(Damaged, match=message):
        checkpoint.unpack(checkpoint.pack({"w": torch.zeros(1)}, record))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b'\x08\0\0\0\0\0\0\0{"a":3}', "invalid|Invalid|Deserial"),
        (b"\xff" * 64, "."),
        (save({"w": torch.zeros(1)}), "no record of scl"),
        (save({"w": torch.zeros(1)}, {"record": "{}"}), "no record of scl"),
        (save({"w": torch.zeros(1)}, {"record": "{}", "sha256": "0"}), "checksum"),
        (nested(10**5), "nested too deeply"),
    ],
)
def test_bytes_that_are_no_checkpoint_are_damaged(content: bytes, message: str) -> None:
    with pytest.raises(Damaged, match=message):
        checkpoint.unpack(content)
