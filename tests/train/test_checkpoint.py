"""Checkpoints: what is written is read back, damage is noticed."""

from __future__ import annotations

import errno
import threading
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
        taken = checkpoint.snapshot(epoch, {"w": torch.full((3,), float(epoch))}, {"epoch": epoch})
        checkpoint.save_epoch(files, taken)
    names = [name for name in files.names() if name.startswith("epoch-")]
    assert names == ["epoch-00002.safetensors", "epoch-00003.safetensors"]
    (tmp_path / names[-1]).write_bytes(files.read(names[-1])[:-1])
    found = checkpoint.load_last_epoch(files)
    assert found is not None
    assert (found[0]["w"].tolist(), found[1]) == ([2.0] * 3, {"epoch": 2})
    assert names[-1] not in files.names()
    checkpoint.drop_epochs(files)
    assert checkpoint.load_last_epoch(files) is None


class Slow:
    """A folder that writes when it is allowed to, and then perhaps fails."""

    def __init__(self, error: OSError | None = None) -> None:
        self.allowed, self.error, self.content = threading.Event(), error, dict[str, bytes]()

    def rotate(self, name: str, content: bytes, prefix: str, keep: int) -> None:
        assert self.allowed.wait(10)
        if self.error is not None:
            raise self.error
        self.content[name] = content
        for old in sorted(self.content)[:-keep]:
            del self.content[old]


def test_a_snapshot_is_written_while_what_it_holds_goes_on() -> None:
    files, weight, record = Slow(), torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last), {"history": [1]}
    tensors = {"w": weight, "tied": weight, "first": weight[:, 0], "count": torch.tensor(3)}
    with checkpoint.Writer() as writer:
        writer.write(files, checkpoint.snapshot(1, tensors, record))  # type: ignore[arg-type]
        assert files.content == {}
        weight.zero_()
        record["history"].append(2)
        files.allowed.set()
    found, read = checkpoint.unpack(files.content["epoch-00001.safetensors"])
    assert read == {"history": [1]}
    assert {name: (tuple(tensor.shape), tensor.unique().tolist()) for name, tensor in found.items()} == {
        "w": ((2, 3, 4, 4), [1.0]), "tied": ((2, 3, 4, 4), [1.0]), "first": ((2, 4, 4), [1.0]), "count": ((), [3]),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("when", "raised"), [("at the next save", OSError), ("at the end", OSError), ("as something else fails", KeyError)]
)
def test_a_checkpoint_that_cannot_be_written_is_never_silent(
    when: str, raised: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    files = Slow(OSError(errno.ENOSPC, "No space left on device"))
    files.allowed.set()

    def train() -> None:
        with checkpoint.Writer() as writer:
            writer.write(files, checkpoint.snapshot(1, {"w": torch.ones(1)}, {}))  # type: ignore[arg-type]
            if when == "at the next save":
                writer.settle()
                pytest.fail("the error was lost")
            if raised is KeyError:
                raise KeyError

    with pytest.raises(raised):
        train()
    said = "a checkpoint could not be written: [Errno 28] No space left on device\n"
    assert capsys.readouterr().err == (said if raised is KeyError else "")


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
