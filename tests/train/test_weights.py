"""State dicts from elsewhere: right ones are read, all others are refused by name, and no code is executed."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from scl.errors import UserError
from scl.train.weights import difference, load_weights, open_checkpoint
from tests.support.checkpoints import BAD, GOOD, special_files, state


@pytest.mark.parametrize("kind", GOOD)
def test_what_training_scripts_save_is_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(GOOD[kind]())
    found = load_weights(str(tmp_path / "w"))
    assert len(found) == len(state())
    assert sorted(t.numel() for t in found.values()) == sorted(t.numel() for t in state().values())
    assert open_checkpoint(str(tmp_path / "w")).ordered == ("safetensors" not in kind)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_weights_lose_their_wrappers(tmp_path: Path, wrapper: str | None) -> None:
    weights = {"module.a": torch.ones(2), "b": torch.zeros(1)}
    torch.save({wrapper: weights} if wrapper else weights, tmp_path / "w.pth")
    found = load_weights(str(tmp_path / "w.pth"))
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [1, 1], "b": [0]}


def test_two_names_never_become_one(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "a": torch.zeros(1)}, tmp_path / "w.pth")
    assert load_weights(str(tmp_path / "w.pth")).keys() == {"module.a", "a"}


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    for path, message in special_files(tmp_path).values():
        with pytest.raises(UserError, match=message):
            load_weights(str(path))


@pytest.mark.parametrize("kind", ["huge", "huge, old", "past its storage", "huge shape", "cut storages", "negative"])
def test_a_file_that_claims_more_than_it_holds_takes_no_memory(kind: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(BAD[kind][0]())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"more data than the file|read safely") as refused:
        load_weights(str(tmp_path / "w"))
    assert "can't allocate" not in str(refused.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_the_first_difference_is_named() -> None:
    w = {"a": torch.ones(2), "b": torch.ones(1)}
    assert difference(w, w) == ""
    assert difference({"a": w["a"]}, w) == "b is absent"
    assert difference({**w, "c": w["a"]}, w) == "c is one too many"
    assert difference({**w, "b": torch.ones(2)}, w) == "b is float32 (2,), wanted float32 (1,)"
    assert difference({**w, "b": torch.ones(1).half()}, w) == "b is float16 (1,), wanted float32 (1,)"
    assert difference({**w, "b": torch.tensor([torch.nan])}, w) == "b has numbers that are not finite"
