"""Calls from the cluster to the driver: of functions, and of the files of a folder that only the driver sees.

An actor on the head node queues the calls; a thread of the driver fetches and answers them. So nothing has to reach
the driver's machine, and hosts share no folder. Needed on clusters of several hosts, and if the driver is a client
outside the cluster.
"""

from __future__ import annotations

import asyncio
import posixpath
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, cast

import ray

from scl.store.files import Change, Folder

Functions = Mapping[str, Callable[..., Any]]
Call = tuple[str, tuple[Any, ...]]  # the function's name, its arguments
HEAD = {"node:__internal_head__": 0.001}  # without the head node, the cluster is gone anyway
CALLS_AT_ONCE = 8
CALLERS = 10_000


class RpcServer:
    """The actor. Calls wait in it for the driver, and callers wait for the driver's answers."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[tuple[int, Call]] = asyncio.Queue()
        self.answers: dict[int, asyncio.Future[Any]] = {}
        self.count = 0

    async def call(self, call: Call) -> Any:
        """Queue a call of a worker; returns the driver's answer."""
        self.count += 1
        number = self.count
        self.answers[number] = asyncio.get_running_loop().create_future()
        await self.waiting.put((number, call))
        try:
            return await self.answers[number]
        finally:
            del self.answers[number]

    async def fetch(self) -> list[tuple[int, Call]]:
        """The waiting calls with their numbers, at least one: waits for it."""
        calls = [await self.waiting.get()]
        while not self.waiting.empty() and len(calls) < CALLS_AT_ONCE:
            calls.append(self.waiting.get_nowait())
        return calls

    async def answer(self, answers: Sequence[tuple[int, Any]]) -> None:
        """Take answers to calls, by number."""
        for number, answer in answers:
            if number in self.answers:  # the caller may have died
                self.answers[number].set_result(answer)


@dataclass(frozen=True)
class RpcClient:
    """Calls the driver's functions by name, from any process of the cluster. Raises what the function raises.

    server: the handle of an RpcServer.
    """

    server: Any

    def __call__(self, name: str, *arguments: Any) -> Any:
        succeeded, value = ray.get(self.server.call.remote((name, arguments)))
        if not succeeded:
            raise value
        # What several workers of a node read comes through the object store, once a node.
        return ray.get(value) if isinstance(value, ray.ObjectRef) else value


@contextmanager
def rpc_to_driver(functions: Functions) -> Iterator[RpcClient]:
    """A client for these functions of this process, by name. They run in threads."""
    server = ray.remote(num_cpus=0, resources=HEAD, max_concurrency=CALLERS)(RpcServer).remote()
    done = threading.Event()
    answers: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()

    def answer(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            value = (True, functions[name](*arguments))
        except Exception as error:
            value = (False, error)
        answers.put((number, value))

    def serve() -> None:
        with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
            fetched = None
            while not done.is_set():
                try:
                    fetched = fetched or server.fetch.remote()
                    ready, _ = ray.wait([fetched], timeout=0.5)
                    if ready:
                        calls, fetched = ray.get(fetched), None
                        for number, (name, arguments) in calls:
                            pool.submit(answer, number, name, arguments)
                except (ray.exceptions.RayError, ConnectionError):
                    return

    def send() -> None:
        """Send answers, in one call those that are there."""
        while (first := answers.get()) is not None:
            several = [first]
            while not answers.empty() and (more := answers.get()) is not None:
                several.append(more)
            with suppress(ray.exceptions.RayError, ConnectionError):  # Ray has ended
                server.answer.remote(several)

    threads = [threading.Thread(target=target, daemon=True) for target in (serve, send)]
    for thread in threads:
        thread.start()
    try:
        yield RpcClient(server)
    finally:
        done.set()
        threads[0].join(timeout=5)
        answers.put(None)
        threads[1].join(timeout=5)
        with suppress(Exception):
            ray.kill(server)


@dataclass(frozen=True)
class DriverFolder(Folder):
    """A folder on the driver's machine, as workers see it: the driver carries out every operation."""

    client: RpcClient | None = None

    def _call(self, operation: str, *arguments: Any) -> Any:
        assert self.client is not None
        return self.client("folder", self.path, self.aside, operation, arguments)

    @property
    def is_local(self) -> bool:
        return False

    def __str__(self) -> str:
        return self.path

    def names(self) -> list[str]:
        return cast(list[str], self._call("names"))

    def exists(self, name: str) -> bool:
        return bool(self._call("exists", name))

    def read(self, name: str) -> bytes:
        return cast(bytes, self._call("read", name))

    def write(self, name: str, content: bytes, durable: bool = False) -> None:
        self._call("write", name, content, durable)

    def remove(self, name: str) -> None:
        self._call("remove", name)

    def set_aside(self, name: str, reason: str) -> None:
        self._call("set_aside", name, reason)

    def existing(self, names: Sequence[str]) -> list[str]:
        return cast(list[str], self._call("existing", *names))

    def thin(self, prefix: str, keep: int = 0) -> None:
        self._call("thin", prefix, keep)

    def rotate(self, name: str, content: bytes, prefix: str, keep: int) -> None:
        self._call("rotate", name, content, prefix, keep)

    def apply(self, changes: Sequence[Change]) -> None:
        """In one call, since each costs a few milliseconds on the head node and in the driver."""
        self._call("apply", *((folder.path, folder.aside, *what) for folder, *what in changes))


# Each with names of files as its first argument; those of `apply` are checked one by one.
OPERATIONS = ("names", "exists", "read", "write", "remove", "set_aside", "existing", "thin", "rotate", "apply")


def folder_function(root: Folder, shared: str) -> Callable[..., Any]:
    """The driver's function `folder`: carries out the operations of a DriverFolder below `root`.

    Args:
        shared: a folder below `root` whose files many workers read and none changes; they travel once a node.

    The function raises PermissionError for a place outside `root` and for any other operation.
    """
    sent: dict[str, Any] = {}  # file → the hash of its content, and its reference in the object store

    def function(path: str, aside: str | None, operation: str, arguments: tuple[Any, ...]) -> Any:
        if operation == "apply":
            for change in arguments:
                function(*change)
            return None
        for place in (path, *([aside] if aside else [])):
            if not posixpath.normpath(place).startswith(f"{root.path}/"):
                raise PermissionError(f"{place} is not below {root.path}")
        named = arguments if operation == "existing" else arguments[:1]
        bare = all(name and posixpath.basename(name) == name for name in named)
        if operation not in OPERATIONS or not bare:
            raise PermissionError(f"workers may not call {operation} {arguments[:1]}")
        folder = Folder(root.filesystem, path, aside)
        if operation == "existing":
            return folder.existing(arguments)
        if operation == "read" and posixpath.normpath(path).startswith(f"{shared}/"):
            name = f"{path}/{arguments[0]}"
            content = folder.read(arguments[0])
            if name not in sent or sent[name][0] != hash(content):
                sent[name] = (hash(content), ray.put(content))
            return sent[name][1]
        return getattr(folder, operation)(*arguments)

    return function


def run_on_head(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function on the cluster's head node and return its result; signals here are handled while it runs."""
    task = ray.remote(num_cpus=0, resources=HEAD, max_retries=0)(function).remote(*arguments)
    try:
        while True:
            ready, _ = ray.wait([task], timeout=0.5)
            if ready:
                return ray.get(task)
    except BaseException:
        with suppress(Exception):
            ray.cancel(task, force=True)
        raise
