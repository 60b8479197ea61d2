"""What modules return, as maps and logits: layouts, tokens, tuples and objects."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from scl.models.maps import Grid, logits_of, map_of, without_last_channels

ANY = nn.Identity()


@pytest.mark.parametrize(
    ("tokens", "grid", "found"),
    [
        (16, Grid((32, 32)), (4, 4)),
        (17, Grid((32, 32)), (4, 4)),
        (18, Grid((32, 32)), None),
        (18, Grid((32, 32), prefix=2), (4, 4)),
        (21, Grid((32, 32), prefix=5), (4, 4)),
        (9, Grid((32, 32)), (3, 3)),
        (9, Grid((32, 32), prefix=5), (2, 2)),  # a class token and four registers
        (9, Grid((32, 32), seen=((2, 2),)), (2, 2)),  # the convolution of patches says so
        (9, Grid((32, 32), seen=((3, 3), (2, 2))), (3, 3)),
        (16, Grid((32, 32), prefix=1), (4, 4)),  # a class token that joins later
        (13, Grid((32, 96)), (2, 6)),
        (12, Grid((96, 32)), (6, 2)),
        (16, Grid((32, 96)), None),
        (2, Grid((32, 32)), None),
        (1, Grid((32, 32)), None),
        (50, Grid((224, 224), seen=((14, 14), (7, 7))), (7, 7)),
    ],
)
def test_places_of_tokens(tokens: int, grid: Grid, found: tuple[int, int] | None) -> None:
    assert grid.of_tokens(tokens) == found
    x = torch.randn(2, tokens, 3)
    given = map_of(ANY, x, grid, 2)
    if found is None:
        assert given is None
    else:
        assert given is not None
        assert torch.equal(given.flatten(2).mT, x[:, -found[0] * found[1] :])


@pytest.mark.parametrize(
    ("module", "shape", "grid", "channels"),
    [
        (ANY, (2, 5, 4, 4), Grid((32, 32)), 5),
        (ANY, (2, 4, 4, 5), Grid((32, 32)), 5),
        (ANY, (2, 4, 4, 4), Grid((32, 32)), 4),
        (nn.LayerNorm(4), (2, 4, 4, 4), Grid((32, 32)), 4),
        (ANY, (2, 7, 2, 6), Grid((32, 96)), 7),
        (ANY, (2, 2, 6, 7), Grid((32, 96)), 7),
        (nn.Conv2d(1, 4, 1), (2, 4, 4, 9), Grid((32, 32)), 4),
        (ANY, (2, 3, 5, 7), Grid((32, 32)), 3),  # no proportions of the image: channels first
        (ANY, (2, 3, 5, 7), Grid((32, 32), channels_last=True), 7),
    ],
)
def test_channels_of_four_dimensions(module: nn.Module, shape: tuple[int, ...], grid: Grid, channels: int) -> None:
    found = map_of(module, torch.zeros(shape), grid, 2)
    assert found is not None
    assert found.shape[1] == channels


def test_the_layout_of_a_cube_is_that_of_its_module() -> None:
    x = torch.arange(128.0).view(2, 4, 4, 4)
    assert torch.equal(map_of(ANY, x, Grid((8, 8)), 2), x)  # type: ignore[arg-type]
    for module in (nn.LayerNorm(4), nn.Linear(4, 4)):
        assert torch.equal(map_of(module, x, Grid((8, 8)), 2), x.permute(0, 3, 1, 2))  # type: ignore[arg-type]


class Named(NamedTuple):
    hidden: Tensor
    weights: Tensor


STATES: dict[str, Any] = {
    "tensor": lambda x: x,
    "tuple": lambda x: (x, x + 1),
    "list": lambda x: [x],
    "named tuple": lambda x: Named(x, x + 1),
    "dict": lambda x: {"last_hidden_state": x, "other": 1},
    "object": lambda x: SimpleNamespace(last_hidden_state=x, other=1),
}


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("shape", [(2, 5, 4, 4), (2, 4, 4, 5), (2, 17, 5)])
def test_a_module_s_state_is_found_and_muted(kind: str, shape: tuple[int, ...]) -> None:
    grid, x = Grid((32, 32)), torch.rand(shape) + 1
    output = STATES[kind](x)
    before = map_of(ANY, output, grid, 2)
    muted = without_last_channels(ANY, output, 2, grid)
    assert type(muted) is type(output)
    after = map_of(ANY, muted, grid, 2)
    assert before is not None
    assert after is not None
    assert torch.equal(after[:, :3], before[:, :3])
    assert (before > 0).all()
    assert (after[:, 3:] == 0).all()
    assert torch.equal(map_of(ANY, output, grid, 2), before)  # type: ignore[arg-type]
    if kind == "tuple":
        assert torch.equal(muted[1], output[1])


@pytest.mark.parametrize(
    "output",
    [None, 3, "x", (), {}, {"hidden": torch.zeros(2, 3, 4, 4)}, torch.zeros(2, 3), torch.zeros(8, 3, 4, 4),
     torch.zeros(2, 3, 4, 4, dtype=torch.int64), torch.zeros(2, 3, 4, 4, 4)],
)  # fmt: skip
def test_what_is_no_map(output: Any) -> None:
    """Eight maps of a batch of two are those of windows."""
    assert map_of(ANY, output, Grid((32, 32)), 2) is None


@pytest.mark.parametrize(
    ("make", "is_found"),
    [
        (lambda x: x, True),
        (lambda x: {"logits": x}, True),
        (lambda x: SimpleNamespace(logits=x, loss=None), True),
        (lambda x: (x,), True),
        (lambda x: (x, x), False),
        (lambda x: {"output": x}, False),
        (lambda x: None, False),
    ],
)
def test_logits(make: Any, is_found: bool) -> None:
    x = torch.zeros(2, 10)
    assert (logits_of(make(x)) is x) == is_found
