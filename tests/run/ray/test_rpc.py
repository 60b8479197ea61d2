"""Calls from workers to the driver, and which of its files they reach."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from scl.run.ray.rpc import OPERATIONS, DriverFolder, RpcClient, RpcServer, folder_function
from scl.store.files import open_folder


def test_callers_get_the_answers_to_their_calls() -> None:
    async def conversation() -> list[Any]:
        server = RpcServer()
        callers = [asyncio.create_task(server.call(("double", (i,)))) for i in range(20)]
        await asyncio.sleep(0)
        fetched = await server.fetch() + await server.fetch() + await server.fetch()
        for number, (name, (i,)) in reversed(fetched):
            assert name == "double"
            await server.answer([(number, 2 * i), (999, "a caller that died")])
        return await asyncio.gather(*callers)

    assert asyncio.run(conversation()) == [2 * i for i in range(20)]


def client_of(**functions: Any) -> RpcClient:
    """A client whose calls are answered in this process."""

    def call(call: tuple[str, tuple[Any, ...]]) -> tuple[bool, Any]:
        try:
            return True, functions[call[0]](*call[1])
        except Exception as error:
            return False, error

    return RpcClient(SimpleNamespace(call=SimpleNamespace(remote=call)))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's references are the values themselves."""
    monkeypatch.setattr(ray, "get", lambda value: value)
    monkeypatch.setattr(ray, "put", lambda value: value)


def test_what_a_function_raises_is_raised_by_its_caller(here: None) -> None:
    client = client_of(half=lambda n: n / 2, fails=lambda: [][0])
    assert client("half", 3) == 1.5
    with pytest.raises(IndexError):
        client("fails")


def test_a_folder_of_the_driver_is_used_like_a_folder(here: None, tmp_path: Path) -> None:
    out = open_folder(str(tmp_path / "out"))
    client = client_of(folder=folder_function(out, f"{out.path}/teachers"))
    store = DriverFolder(out.filesystem, out.path, out.aside, client=client) / "ablation"
    store.write("a", b"1", durable=True)
    store.write("b", b"2")
    assert (store.names(), store.exists("a"), store.exists("c"), store.read("a")) == (["a", "b"], True, False, b"1")
    store.rotate("c-2", b"2", "c-", 1)
    deep = store / "deep"
    store.apply([(store, "write", ("c-1", b"1", True)), (deep, "write", ("d", b"4")), (store, "thin", ("c-", 1))])
    assert (store.existing(["b", "c-1", "c-2", "d"]), deep.names()) == (["b", "c-2"], ["d"])
    store.thin("c-")
    store.remove("a")
    store.set_aside("b", "damaged in a test")
    assert store.names() == []
    assert not store.is_local
    assert str(store) == f"{tmp_path}/out/ablation"
    assert [f.read_bytes() for f in (tmp_path / "out" / "ablation" / "damaged").iterdir()] == [b"2"]
    with pytest.raises(FileNotFoundError):
        store.read("a")
    assert set(OPERATIONS) <= set(vars(DriverFolder))


def test_shared_files_are_sent_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(ray, "put", lambda content: sent.append(content) or len(sent))
    out = open_folder(str(tmp_path))
    (out / "teachers" / "id").write("t", b"one")
    folder = folder_function(out, f"{out.path}/teachers")
    read = (f"{out.path}/teachers/id", None, "read", ("t",))
    assert [folder(*read), folder(*read)] == [1, 1]
    (out / "teachers" / "id").write("t", b"two")
    assert folder(*read) == 2
    assert sent == [b"one", b"two"]


def test_workers_reach_nothing_but_the_results(tmp_path: Path) -> None:
    out = open_folder(str(tmp_path / "out"))
    (tmp_path / "secret").write_text("x")
    folder = folder_function(out, f"{out.path}/teachers")
    folder(f"{out.path}/ablation/parts", None, "write", ("a", b"1"))
    assert (tmp_path / "out" / "ablation" / "parts" / "a").read_bytes() == b"1"
    for path, operation, arguments in (
        (str(tmp_path), "read", ("secret",)),
        (f"{out.path}/ablation/../..", "read", ("secret",)),
        (f"{out.path}/ablation", "read", ("../../secret",)),
        (f"{out.path}/ablation", "read", ("",)),
        (f"{out.path}/ablation", "sweep", ()),
        (f"{out.path}/ablation", "__class__", ()),
        (f"{out.path}/ablation", "existing", ("a", "../../secret")),
        (f"{out.path}/ablation", "apply", ((str(tmp_path), None, "write", ("secret", b"y")),)),
        (f"{out.path}/ablation", "apply", ((f"{out.path}/ablation", None, "thin", ("../",)),)),
    ):
        with pytest.raises(PermissionError):
            folder(path, None, operation, arguments)
    with pytest.raises(PermissionError):
        folder(f"{out.path}/ablation", str(tmp_path), "set_aside", ("a", "why"))
    assert (tmp_path / "secret").read_text() == "x"
