"""Checkpoints: what is written is read back, damage is noticed, no code is executed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scl.errors import Damaged, UserError
from scl.store.files import open_folder
from scl.train import checkpoint


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


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_weights_of_a_pytorch_file_lose_their_wrappers(tmp_path: Path, wrapper: str | None) -> None:
    weights = {"module.a": torch.ones(2), "b": torch.zeros(1)}
    torch.save({wrapper: weights} if wrapper else weights, tmp_path / "w.pth")
    found = checkpoint.load_weights(str(tmp_path / "w.pth"))
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [1, 1], "b": [0]}


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", r"can be read safely \(EOFError\)"),
        ({"a": Hostile()}, "it holds Python objects"),
        ({"a": 1}, "holds no state dict of tensors|contains no state dict of tensors"),
    ],
)
def test_a_file_without_weights_is_refused_and_never_executed(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message):
        checkpoint.load_weights(str(path))
