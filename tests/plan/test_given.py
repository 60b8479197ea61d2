"""A user's teacher: what its files hold, what is said of it, how it is fed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scl.errors import UserError
from scl.models.networks import build_student
from scl.plan.context import data_of
from scl.plan.given import Shapes, fitted, misfit, open_given
from scl.plan.plan import Plan
from scl.plan.teachers import import_teacher, load_teacher
from tests.support.plans import tiny_plan
from tests.support.zoo import RIGHT, WRONG

A, B = ("a", (2, 3)), ("b", (4,))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return tiny_plan(tmp_path_factory.mktemp("given"), "--seeds", "1")


def weights_of(plan: Plan) -> dict[str, Tensor]:
    return build_student(plan.teacher, data_of(plan.context), 3).state_dict()


@pytest.mark.parametrize("kind", RIGHT)
def test_what_libraries_save_is_read_to_the_last_number(kind: str, plan: Plan, tmp_path: Path) -> None:
    state = weights_of(plan)
    if kind == "half":
        state = {k: t.half().float() if t.is_floating_point() else t for k, t in state.items()}
    given = open_given(str(RIGHT[kind](tmp_path, state)))
    identity = re.sub(r"\W", "", kind)
    import_teacher(plan.context, plan.teacher, identity, given, anyway=True)
    found = load_teacher(plan.context, identity, plan.teacher)
    assert found is not None
    assert found[0].weights.keys() == state.keys()
    assert all(torch.equal(found[0].weights[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_teacher_is_refused_by_one_message(kind: str, plan: Plan, tmp_path: Path) -> None:
    write, message = WRONG[kind]
    path = str(write(tmp_path, weights_of(plan)))
    with pytest.raises(UserError, match=message) as refused:
        import_teacher(plan.context, plan.teacher, "wrong", open_given(path), anyway=True)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 700


@pytest.mark.parametrize("write", ["pt", "safetensors"])
def test_names_that_are_exact_are_not_called_matched_by_order(
    write: str, plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {
        "pt": ("DDP", "timm, clean", "lightning, model.", "pt, a loss too"),
        "safetensors": ("safetensors, model.",),
    }
    for kind in kinds[write]:
        (tmp_path / kind).mkdir()
        given = open_given(str(RIGHT[kind](tmp_path / kind, weights_of(plan))))
        import_teacher(plan.context, plan.teacher, f"exact{write}{len(kind)}", given, anyway=True)
        assert "order" not in capsys.readouterr().err.partition("used although")[0]


def test_what_a_script_has_pickled_is_described_and_not_made(plan: Plan, tmp_path: Path) -> None:
    given = open_given(str(RIGHT["timm, train.py"](tmp_path, weights_of(plan))))
    (shard,) = given.shards
    assert shard.key == ("state_dict_ema",)
    assert shard.averaged
    assert shard.keys["args"] == "an object of argparse.Namespace, which was not made"
    assert shard.beside["epoch"] == 3
    assert shard.beside["metric"] == 71.5
    assert shard.beside["args"]["data_dir"] == "/data"


# --- which tensor is which ------------------------------------------------------------------------------------------


def shapes(*pairs: tuple[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return dict(pairs)


FITS: list[tuple[Shapes, Shapes]] = [
    (shapes(A, B), shapes(A, B)),
    (shapes(B, A), shapes(A, B)),  # by name in any order
    (shapes(("x", (2, 3)), ("y", (4,))), shapes(A, B)),  # by order and shape
    (shapes(A, B), shapes(("net.a", (2, 3)), ("net.b", (4,)))),  # of another library, wrapped here
    (shapes(("net.a", (2, 3)), ("net.b", (4,))), shapes(("net.a", (2, 3)), ("net.b", (4,)))),
    (shapes(("m.net.a", (2, 3)), ("m.net.b", (4,))), shapes(("net.a", (2, 3)), ("net.b", (4,)))),
    (shapes(A, B, ("head", (1,))), shapes(("net.a", (2, 3)), ("net.b", (4,)))),  # its auxiliary head is left out
    (shapes(("m.a", (2, 3)), ("m.b", (4,)), ("loss", (1,))), shapes(A, B)),
    (shapes(("w.m.a", (2, 3)), ("w.m.b", (4,)), ("w.loss.c", (1,))), shapes(A, B)),
]


@pytest.mark.parametrize(("given", "wanted"), FITS)
def test_a_checkpoint_fits_by_name_or_by_order_and_shape(given: Shapes, wanted: Shapes) -> None:
    found = fitted(given, wanted)
    assert found is not None
    assert {name: given[theirs] for name, theirs in found.items()} == wanted


@pytest.mark.parametrize(
    ("given", "wanted", "difference"),
    [
        (shapes(("x", (2, 3)), ("y", (5,))), shapes(A, B), r"by order, y is \(5,\) where b is \(4,\)"),
        (shapes(A, ("b", (5,))), shapes(A, B), r"b is \(5,\), wanted \(4,\)"),
        (shapes(A, B, ("c", (1,))), shapes(A, B), "it has 3 tensors, wanted 2; c is one too many"),
        (shapes(A), shapes(A, B), "it has 1 tensors, wanted 2; b is absent"),
        (shapes(A, ("z", (4,)), ("c", (1,))), shapes(("net.a", (2, 3)), ("net.b", (4,))), "it has 3 tensors, wanted 2"),
        (shapes(("a", (3, 2)), B), shapes(("net.a", (2, 3)), ("net.b", (4,))), r"net.a is \(3, 2\), wanted \(2, 3\)"),
    ],
)
def test_the_first_difference_is_named(given: Shapes, wanted: Shapes, difference: str) -> None:
    assert fitted(given, wanted) is None
    with pytest.raises(UserError, match=difference):
        raise UserError(misfit(given, wanted))
