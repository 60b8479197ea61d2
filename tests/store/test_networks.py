"""Networks of completed trials that are missing or damaged, as commands that read find them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scl.cli.command import main
from scl.errors import Damaged, RunFailed
from scl.store.files import Folder, open_folder
from scl.store.networks import STUDENT, in_words, lost_networks, network_fault
from scl.store.results import load
from scl.train import checkpoint

TENSORS = {
    "w": torch.arange(6.0).reshape(2, 3),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "none": torch.empty(0),
    "count": torch.tensor(3),
    "bits": torch.tensor([True, False]),
}
ROW = {"trial_id": "t0", "arm": "kd", "seed": 1, "state": "completed"}


@pytest.fixture
def content() -> bytes:
    return checkpoint.pack(TENSORS, {"trial_id": "t0", "arm": "ä"})


def test_what_scl_wrote_is_intact(tmp_path: Path, content: bytes) -> None:
    store = open_folder(str(tmp_path))
    (store / "checkpoints" / "t0").write(STUDENT, content)
    assert network_fault(store, "t0") == ""
    assert lost_networks(store, [ROW, {**ROW, "trial_id": "t1", "state": "failed"}]) == {}


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped number": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "a flipped record": lambda content: content.replace(b"u00e4", b"u00e5"),
    "another trial": lambda content: checkpoint.pack(TENSORS, {"trial_id": "t1"}),
    "no record": lambda content: content.replace(b"__metadata__", b"__metadatb__"),
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"no network",
    "longer": lambda content: content + b"x",
    **{f"cut to {n} %": lambda content, n=n: content[: n * len(content) // 100] for n in (1, 50, 99)},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_as_by_who_loads_it(damage: str, tmp_path: Path, content: bytes) -> None:
    store = open_folder(str(tmp_path))
    damaged = DAMAGES[damage](content)
    assert damaged != content
    (store / "checkpoints" / "t0").write(STUDENT, damaged)
    assert network_fault(store, "t0")
    assert list(lost_networks(store, [ROW])) == ["t0"]


def test_flipped_bits_are_found_as_by_who_loads_it(tmp_path: Path, content: bytes) -> None:
    store = open_folder(str(tmp_path))
    for at in range(0, len(content), 5):
        flipped = bytearray(content)
        flipped[at] ^= 4
        (store / "checkpoints" / "t0").write(STUDENT, bytes(flipped))
        try:
            checkpoint.unpack(bytes(flipped))
        except Damaged:
            assert network_fault(store, "t0"), at
        else:  # the bit was in the name of a checksum, which older files do not have
            assert b"record_sha256" not in flipped


def test_what_cannot_be_read_is_not_lost(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_folder(str(tmp_path))
    (tmp_path / "checkpoints" / "t0" / STUDENT).mkdir(parents=True)
    assert network_fault(store, "t0") == "is a folder or a special file"
    assert network_fault(store, "t1") == "is missing"

    def fails(folder: Folder, name: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Folder, "read", fails)
    with pytest.raises(RunFailed, match="no permission"):
        network_fault(store, "t1")


def test_in_an_object_store_presence_counts(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_folder(str(tmp_path))
    monkeypatch.setattr(Folder, "is_local", property(lambda self: False))
    (store / "checkpoints").filesystem.create_dir(f"{store.path}/checkpoints/t0")
    (store / "checkpoints" / "t0").write(STUDENT, content[:-1])
    rows = [ROW, {**ROW, "trial_id": "t1"}]
    assert lost_networks(store, rows) == {"t1": "is missing"}
    assert list(lost_networks(store, rows, thorough=True)) == ["t0", "t1"]


def test_lost_networks_are_counted_and_named() -> None:
    rows = [{**ROW, "trial_id": f"t{i}", "seed": i} for i in range(6)]
    one = in_words({"t2": "is missing"}, rows)
    assert one == "1 network of a completed trial is lost: kd seed 2 is missing"
    assert in_words(dict.fromkeys((r["trial_id"] for r in rows), "is missing"), rows).endswith("; and 2 more")


def test_commands_that_read_name_lost_networks(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(small, tmp_path / "small")
    assert main(["results", str(tmp_path)]) == 0
    assert "lost" not in capsys.readouterr().err
    trials = load(str(small)).planned()
    first, second = (tmp_path / "small" / "checkpoints" / i / STUDENT for i in trials["trial_id"][:2])
    first.write_bytes(first.read_bytes()[:-3])
    second.unlink()
    assert main(["results", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "2 networks of completed trials are lost: " in said
    assert "--remake-students" in said
    assert main(["show", str(tmp_path), trials["trial_id"][0]]) == 0
    assert "is damaged" in capsys.readouterr().out
    assert main(["show", str(tmp_path), trials["trial_id"][1]]) == 0
    assert "is missing; the study's command with --remake-students" in capsys.readouterr().out
