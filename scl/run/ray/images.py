"""Images of a large data set on the nodes of a cluster: the file that the driver decoded, or a copy of it.

Workers on the driver's machine, and those that see its folder, read the driver's file. On another node the first worker
that needs it copies it there, in chunks that travel as calls to the driver; the others wait for it at a lock.
"""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from scl.data.stored import Pixels, StoredImages
from scl.errors import RunFailed
from scl.run.ray.rpc import RpcClient
from scl.store.files import PARTIAL, explain
from scl.store.node import node_cache

CHUNK = 8 * 2**20  # bytes of a file that travel at once
LOOKED_AT = 16  # images by which a worker recognises the driver's file


@dataclass(frozen=True, eq=False)
class DriverImages(StoredImages):
    """Images in a file of the driver's machine, on their way to a worker, where `here` finds or copies the file."""

    client: RpcClient | None = None

    def here(self) -> StoredImages:
        """Raises RunFailed if this node cannot keep a copy."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(StoredImages)}
        images = StoredImages(**fields)
        if _same(images):
            return images
        source = Path(self.path)
        copy = node_cache() / f"{source.parent.name}-{source.name}"
        images = dataclasses.replace(images, path=str(copy))
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{copy}.lock"):
                if not _same(images):
                    self._fetch(copy)
        except OSError as error:
            raise RunFailed(
                f"the decoded images ({os.path.basename(self.path)}) cannot be copied to {copy.parent} on "
                f"{socket.gethostname()}: {explain(error)}; make room there, or share the folder of results among nodes"
            ) from error
        return images

    def _fetch(self, copy: Path) -> None:
        assert self.client is not None
        partial = copy.with_name(f".{copy.name}{PARTIAL}")  # one writer: the holder of the lock
        with open(partial, "wb") as file:
            while content := self.client("images", self.path, file.tell(), CHUNK):
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(copy)


def _same(images: StoredImages) -> bool:
    """True if this node sees the file: it holds the images, judged by some of them, first and last included."""
    which = np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).astype(np.int64)) if len(images) else np.arange(0)
    pixels = np.empty((len(which), *images.image_shape), dtype=np.uint8)
    return not images.damage(which, pixels)


def on_driver(images: Mapping[str, Pixels], client: RpcClient) -> dict[str, Pixels]:
    """The images of parts for workers that may be on other nodes; arrays travel as they are."""
    return {
        part: DriverImages(**{f.name: getattr(of, f.name) for f in dataclasses.fields(of)}, client=client)
        if isinstance(of, StoredImages)
        else of
        for part, of in images.items()
    }


def images_function(images: Mapping[str, Pixels]) -> Callable[[str, int, int], bytes]:
    """The driver's function `images`: bytes of one of the files that hold these images, from an offset; b"" at its end.

    It raises PermissionError for any other file.
    """
    paths = {of.path for of in images.values() if isinstance(of, StoredImages)}

    def function(path: str, start: int, count: int) -> bytes:
        if path not in paths:
            raise PermissionError(f"{path} holds no images of this run")
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(min(count, CHUNK))

    return function
