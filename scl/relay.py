"""What the cluster asks of the driver: files of a folder that only the driver sees, and a run's conversation.

An actor on the head node keeps letters; a thread of the driver fetches and answers them. So nothing has to reach the
driver's machine, and no folder has to be shared. Everything here is needed only on clusters of several hosts, and
where the driver is a client outside of one.
"""

from __future__ import annotations

import asyncio
import posixpath
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import ray

from scl.storage import Folder

Answers = Mapping[str, Callable[..., Any]]
HEAD = {"node:__internal_head__": 0.001}  # with the head node everything is gone anyway
LETTERS_AT_ONCE = 8
CALLERS = 10_000


class Post:
    """The actor: questions wait for the driver, callers for its answers."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self.callers: dict[int, asyncio.Future[Any]] = {}
        self.count = 0

    async def ask(self, letter: Any) -> Any:
        self.count += 1
        number = self.count
        self.callers[number] = asyncio.get_running_loop().create_future()
        await self.waiting.put((number, letter))
        try:
            return await self.callers[number]
        finally:
            del self.callers[number]

    async def fetch(self) -> list[tuple[int, Any]]:
        """What waits, as soon as something does."""
        letters = [await self.waiting.get()]
        while not self.waiting.empty() and len(letters) < LETTERS_AT_ONCE:
            letters.append(self.waiting.get_nowait())
        return letters

    async def answer(self, number: int, answer: Any) -> None:
        if number in self.callers:  # whose worker may have died
            self.callers[number].set_result(answer)


@dataclass(frozen=True)
class Line:
    """Calls what the driver answers to, by name, from anywhere on the cluster."""

    post: Any

    def __call__(self, name: str, *arguments: Any) -> Any:
        fine, value = ray.get(self.post.ask.remote((name, arguments)))
        if not fine:
            raise value
        # What several workers of a node want comes through the object store, once a node.
        return ray.get(value) if isinstance(value, ray.ObjectRef) else value


@contextmanager
def line_to_here(answers: Answers) -> Iterator[Line]:
    """A line to this driver. `answers`: what may be asked, by name; called in threads of this process."""
    post = ray.remote(num_cpus=0, resources=HEAD, max_concurrency=CALLERS)(Post).remote()
    done = threading.Event()

    def answer(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            told = (True, answers[name](*arguments))
        except Exception as error:
            told = (False, error)
        with suppress(ray.exceptions.RayError, ConnectionError):  # Ray has ended
            post.answer.remote(number, told)

    def serve() -> None:
        with ThreadPoolExecutor(LETTERS_AT_ONCE) as pool:
            waiting = None
            while not done.is_set():
                try:
                    waiting = waiting or post.fetch.remote()
                    ready, _ = ray.wait([waiting], timeout=0.5)
                    if ready:
                        letters, waiting = ray.get(waiting), None
                        for number, (name, arguments) in letters:
                            pool.submit(answer, number, name, arguments)
                except (ray.exceptions.RayError, ConnectionError):
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Line(post)
    finally:
        done.set()
        thread.join(timeout=5)
        with suppress(Exception):
            ray.kill(post)


@dataclass(frozen=True)
class FolderAtHome(Folder):
    """A folder of the driver's, as workers see it: every call goes there and is done there."""

    line: Line | None = None

    def _ask(self, call: str, *arguments: Any) -> Any:
        assert self.line is not None
        return self.line("folder", self.path, self.aside, call, arguments)

    @property
    def is_local(self) -> bool:
        return False

    def __str__(self) -> str:
        return self.path

    def names(self) -> list[str]:
        return cast(list[str], self._ask("names"))

    def exists(self, name: str) -> bool:
        return bool(self._ask("exists", name))

    def read(self, name: str) -> bytes:
        return cast(bytes, self._ask("read", name))

    def write(self, name: str, content: bytes, durable: bool = False) -> None:
        self._ask("write", name, content, durable)

    def remove(self, name: str) -> None:
        self._ask("remove", name)

    def set_aside(self, name: str, reason: str) -> None:
        self._ask("set_aside", name, reason)


CALLS = ("names", "exists", "read", "write", "remove", "set_aside")


def folder_answer(home: Folder, shared: str) -> Callable[..., Any]:
    """What answers calls of a FolderAtHome below `home`.

    shared: a folder below, whose files many workers read and none changes; they travel once a node.
    """
    kept: dict[str, Any] = {}

    def answer(path: str, aside: str | None, call: str, arguments: tuple[Any, ...]) -> Any:
        for below in (path, *([aside] if aside else [])):
            if not posixpath.normpath(below).startswith(f"{home.path}/"):
                raise PermissionError(f"{below} is not below {home.path}")
        if call not in CALLS or (arguments and (not arguments[0] or posixpath.basename(arguments[0]) != arguments[0])):
            raise PermissionError(f"{call} {arguments[:1]} is not for workers")
        folder = Folder(home.filesystem, path, aside)
        if call == "read" and posixpath.normpath(path).startswith(f"{shared}/"):
            name = f"{path}/{arguments[0]}"
            content = folder.read(arguments[0])
            if name not in kept or kept[name][0] != hash(content):
                kept[name] = (hash(content), ray.put(content))
            return kept[name][1]
        return getattr(folder, call)(*arguments)

    return answer


def at_home(home: Folder, line: Line) -> FolderAtHome:
    return FolderAtHome(home.filesystem, home.path, home.aside, line)


def on_head(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function on the cluster's head node, from a client outside; a signal here is heard while it runs."""
    task = ray.remote(num_cpus=0, resources=HEAD, max_retries=0)(work).remote(*arguments)
    try:
        while True:
            ready, _ = ray.wait([task], timeout=0.5)
            if ready:
                return ray.get(task)
    except BaseException:
        with suppress(Exception):
            ray.cancel(task, force=True)
        raise
