"""Pickles of strangers: plain data is read, nothing that they name is made or called."""

from __future__ import annotations

import argparse
import io
import os
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scl.train.inert import Reader, StandIn, plain


def read(content: bytes) -> Any:
    return Reader(io.BytesIO(content), "the file").load()


class Calls:
    """Calls what it is given when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_is_read(protocol: int) -> None:
    given = {
        "a": [1, 2.5, True, None, "é", (1, 2)],
        "b": OrderedDict(x=1),
        "c": defaultdict(int, y=2),
        "d": Path("/a/b"),
        "e": argparse.Namespace(lr=0.1, sizes=[1, 2]),
        "f": np.float64(0.25),
        "g": np.int64(-3),
    }
    found = plain(read(pickle.dumps(given, protocol)))
    assert found["a"] == [1, 2.5, True, None, "é", [1, 2]]
    assert found["b"] == {"x": 1}
    assert found["c"] == {"y": 2}
    assert found["d"] == "/a/b"
    assert found["e"] == {"lr": 0.1, "sizes": [1, 2]}
    if protocol >= 2:
        assert (found["f"], found["g"]) == (0.25, -3)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "function", [os.system, os.mkdir, eval, exec, __import__, open, getattr, print, pickle.loads, Path.touch]
)
def test_nothing_is_called(function: Any, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = read(pickle.dumps({"x": Calls(function, "touch executed")}, protocol))
    assert isinstance(found["x"], StandIn)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a bytearray of 2^63 bytes
        b"\x80\x02]K\x01\x85R.",  # calls a list
        b"\x80\x02cos\nsystem\nq\x00.0000",  # rest is not read
    ],
)
def test_what_is_no_pickle_of_data_neither_runs_nor_fills_the_memory(content: bytes) -> None:
    try:
        found = read(content)
    except (pickle.UnpicklingError, EOFError, ValueError):
        return
    assert callable(found)
    assert found.func.__module__ == "scl.train.inert"


def test_a_state_is_not_set_on_what_the_reader_uses() -> None:
    """The file gives a dict as the state of the maker of OrderedDict."""
    before = dict(vars(StandIn))
    read(b"\x80\x02ccollections\nOrderedDict\n}U\x01aK\x01sb.")
    read(b"\x80\x02cx\nY\n}U\x01aK\x01sb.")
    assert dict(vars(StandIn)) == before


@pytest.mark.parametrize("module", ["torch", "torch.storage", "torch.cuda"])
def test_storages_of_every_device_are_known(module: str) -> None:
    """Files of before PyTorch 1.6 that were saved on a GPU name torch.cuda."""
    found = Reader(io.BytesIO(b""), "it").find_class(module, "HalfStorage")
    assert found is torch.float16


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (np.array([0.25, 0.5]), [0.25, 0.5]),
        (np.array([[[0.25]], [[0.5]]], dtype=np.float32), [0.25, 0.5]),
        (np.array([3, -1], dtype=np.int16), [3, -1]),
        (np.array(["owl", "Käfer"]), ["owl", "Käfer"]),
        (np.array(["owl", "bee"], dtype=object), ["owl", "bee"]),
        (np.array([[1.0, 2.0], [3.0, 4.0]]), None),  # no list of numbers or names
        (np.array([0.25, 0.5], dtype=">f8"), None),
        (np.array([1 + 2j]), None),
    ],
)
def test_small_arrays_of_numpy_are_lists(array: Any, wanted: Any, protocol: int) -> None:
    assert plain(read(pickle.dumps({"x": array}, protocol))) == {"x": wanted}
