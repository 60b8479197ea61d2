"""The files of torch.save, read without torch.load: their content as plain data, and tensors on demand.

torch.load either refuses a file for one object beside its tensors, or executes what the file says. Data stays on the
disk until a tensor is asked for, and what a tensor claims is compared with what the file holds before anything is
allocated.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scl.errors import UserError
from scl.train.inert import Claim, Reader, Storage

MAGIC = 0x1950A86A20F9469CFC6C  # of files before PyTorch 1.6
LOCAL_HEADER = struct.Struct("<26xHH")  # of a member of an archive: the lengths of its name and its extra field


@dataclass(frozen=True)
class Archive:
    """An opened file. tree: its content, with a `Claim` for each tensor. places: where a storage's bytes begin in the
    file, and how many there are."""

    file: Path
    where: str
    tree: Any
    places: Mapping[str, tuple[int, int]]

    def check(self, claims: Mapping[str, Claim]) -> None:
        """Raises UserError if a tensor needs more data than the file has."""
        length = self.file.stat().st_size
        storages = {claim.storage.key: claim.storage for claim in claims.values()}
        most = length - sum(_bytes(storage) for storage in storages.values())
        for name, claim in claims.items():
            if most < 0 or _bytes(claim.storage) > self.places.get(claim.storage.key, (0, 0))[1] or _beyond(claim):
                raise UserError(
                    f"{self.where}: {name} {claim.shape} needs more data than the file's {length} bytes hold for it; "
                    "the file is incomplete or was made by hand: copy or download it again"
                )

    def tensors(self, claims: Mapping[str, Claim]) -> dict[str, Tensor]:
        """The claimed tensors, with their data. Tensors that share bytes in the file share memory."""
        self.check(claims)
        storages: dict[str, bytearray] = {}
        found = {}
        with self.file.open("rb") as stream:
            for name, claim in claims.items():
                key, size = claim.storage.key, _bytes(claim.storage)
                if key not in storages:
                    stream.seek(self.places[key][0])
                    storages[key] = bytearray(size)
                    if stream.readinto(storages[key]) != size:
                        raise EOFError
                if not size:
                    found[name] = torch.empty(claim.shape, dtype=claim.dtype)
                    continue
                flat = torch.frombuffer(storages[key], dtype=claim.dtype)
                found[name] = torch.as_strided(flat, claim.shape, claim.stride, claim.offset)
        return found


def open_archive(file: Path, where: str) -> Archive:
    """Raises UserError for what PyTorch does not write, and whatever a broken file raises."""
    with file.open("rb") as stream:
        zipped = stream.read(4) == b"PK\x03\x04"  # as torch tells the formats apart
    return _zipped(file, where) if zipped else _legacy(file, where)


def _zipped(file: Path, where: str) -> Archive:
    with zipfile.ZipFile(file) as archive, file.open("rb") as stream:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
        if any(name.endswith("/constants.pkl") for name in members):
            raise UserError(f"{where} is a TorchScript program, not a state dict")
        if any(name.endswith(".weights.h5") for name in members):
            raise UserError(f"{where} is a network of Keras, not of PyTorch")
        if any(name.endswith(".npy") for name in members):
            raise UserError(f"{where} is an archive of numpy arrays, not a checkpoint of PyTorch")
        if any("/models/" in name or name.endswith("/archive_format") for name in members) and not pickles:
            raise UserError(f"{where} is a program of torch.export, not a state dict")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise UserError(f"{where} is a compressed archive, which PyTorch does not write")
        if len(pickles) != 1:
            raise UserError(f"{where} is an archive, but not a checkpoint of PyTorch: it has no data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            raise UserError(f"{where} was written on a big-endian machine; save it again on a usual one")
        with archive.open(pickles[0]) as content:
            tree = Reader(content, where).load()
        places = {}
        for name, member in members.items():
            if name.startswith(f"{root}data/"):
                stream.seek(member.header_offset)
                before = sum(LOCAL_HEADER.unpack(stream.read(LOCAL_HEADER.size)))
                begins = member.header_offset + LOCAL_HEADER.size + before
                places[name.removeprefix(f"{root}data/")] = begins, member.file_size
    return Archive(file, where, tree, places)


def _legacy(file: Path, where: str) -> Archive:
    """Before PyTorch 1.6: five pickles in a row, then the bytes of each storage behind their number."""
    with file.open("rb") as stream:
        if Reader(stream, where).load() != MAGIC:
            raise UserError(f"{where} is a pickle, but not a checkpoint of PyTorch: torch.save did not write it")
        for _ in range(2):  # a version, the machine
            Reader(stream, where).load()
        reader = Reader(stream, where)
        tree = reader.load()
        places = {}
        end = file.stat().st_size
        for key in Reader(stream, where).load():
            storage = reader.storages.get(str(key))
            if storage is None:
                raise pickle.UnpicklingError("a storage of no tensor")
            (count,) = struct.unpack("<q", stream.read(8))
            begins, size = stream.tell(), count * storage.dtype.itemsize
            places[str(key)] = begins, max(0, min(size, end - begins))
            stream.seek(size, 1)
    return Archive(file, where, tree, places)


def _bytes(storage: Storage) -> int:
    return max(0, storage.count) * storage.dtype.itemsize


def _beyond(claim: Claim) -> bool:
    """Whether a tensor reaches beyond its storage."""
    if claim.offset < 0 or min((*claim.shape, *claim.stride), default=0) < 0 or len(claim.shape) != len(claim.stride):
        return True
    last = claim.offset + sum((size - 1) * stride for size, stride in zip(claim.shape, claim.stride, strict=True))
    return 0 not in claim.shape and (last + 1) * claim.dtype.itemsize > _bytes(claim.storage)
