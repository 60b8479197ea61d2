"""Channel and spatial correlation: invariances, dead rows, precision, layout of gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scl import losses
from scl.losses import correlation
from tests.support.losses import array, channel_oracle, maps, spatial_oracle

CORRELATIONS = {"channel": losses.channel_correlation, "spatial": losses.spatial_correlation}
both_correlations = pytest.mark.parametrize("kind", CORRELATIONS)


@both_correlations
def test_opposite_correlations_cost_four(kind: str) -> None:
    together = torch.tensor([[1.0, 2.0, 4.0], [2.0, 4.0, 8.0]])
    opposed = torch.tensor([[1.0, 2.0, 4.0], [-1.0, -2.0, -4.0]])
    if kind == "spatial":
        together, opposed = together.T, opposed.T
    loss = CORRELATIONS[kind]
    assert loss(together[None, :, None], opposed[None, :, None]).item() == pytest.approx(4)


sizes = st.integers(2, 5)
seeds = st.integers(0, 2**31)


@both_correlations
@settings(max_examples=30, deadline=None)
@given(seed=seeds, batch=st.integers(1, 3), rows=st.integers(2, 14), s_columns=sizes, t_columns=sizes)
def test_invariances(kind: str, seed: int, batch: int, rows: int, s_columns: int, t_columns: int) -> None:
    """Permuted columns of either map, and any positive rescaling and shift of a row, change nothing."""

    def shaped(x: Tensor) -> Tensor:  # (B, rows, columns) → maps whose channels, or locations, are the rows
        return x[..., None] if kind == "channel" else x.mT[..., None]

    loss = CORRELATIONS[kind]
    generator = torch.Generator().manual_seed(seed)
    student, teacher = maps(seed, batch, rows, s_columns), maps(seed + 1, batch, rows, t_columns)
    before = loss(shaped(student), shaped(teacher))
    order = torch.randperm(s_columns, generator=generator)
    scale = 0.1 + 10 * torch.rand(batch, rows, 1, generator=generator, dtype=torch.float64)
    shift = maps(seed + 2, batch, rows, 1)
    after = loss(shaped(student[..., order] * scale + shift), shaped(teacher))
    torch.testing.assert_close(after, before, rtol=1e-7, atol=1e-9)
    # And the teacher's side.
    order = torch.randperm(t_columns, generator=generator)
    after = loss(shaped(student), shaped(teacher[..., order] * scale + shift))
    torch.testing.assert_close(after, before, rtol=1e-7, atol=1e-9)


@both_correlations
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@settings(max_examples=30, deadline=None)
@given(seed=seeds, channels=st.integers(2, 24), side=st.integers(2, 6))
def test_never_negative_and_zero_for_a_permuted_copy(
    kind: str, dtype: torch.dtype, seed: int, channels: int, side: int
) -> None:
    """Also in float32, where the cheaper side would lose every digit."""
    x = maps(seed, 2, channels, side, side, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    if kind == "channel":
        copy = x.flatten(2)[..., torch.randperm(side * side, generator=generator)].view_as(x)
    else:
        copy = x[:, torch.randperm(channels, generator=generator)]
    loss = CORRELATIONS[kind]
    assert loss(x, x).item() == 0
    assert 0 <= loss(x, copy).item() < 1e-12


def test_other_norms_lose_invariances() -> None:
    s, t = maps(0, 2, 4, 3, 3), maps(1, 2, 4, 3, 3)
    for loss in CORRELATIONS.values():
        assert loss(3 * s, t, norm="cosine").item() == pytest.approx(loss(s, t, norm="cosine").item())
        assert loss(s + 1, t, norm="cosine").item() != pytest.approx(loss(s, t, norm="cosine").item(), rel=0.01)
        assert loss(3 * s, t, norm="gram").item() != pytest.approx(loss(s, t, norm="gram").item(), rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_unit_rows_of_relatives_by_the_smaller_side(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many locations of few channels, one dead in the student and one in both: as with all N × N products."""
    t = maps(1, 2, 3, 5, 4, dtype=dtype)
    t[:, :, 0, 0] = 0
    for far in (1.0, 1e-4):
        s = (t + far * maps(0, 2, 3, 5, 4, dtype=dtype)).contiguous()
        s[:, :, 0, 0] = s[:, :, 0, 1] = 0
        found = []
        for tall in (3, 100):
            monkeypatch.setattr(correlation, "TALL", tall)
            x = s.clone().requires_grad_()
            value = losses.spatial_correlation(x, t, norm="rows")
            value.backward()
            found.append((value.detach(), x.grad))
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)
        assert (found[0][1][:, :, 0, 0] == 0).all()
    same = losses.spatial_correlation(t, t[:, [2, 0, 1]].clone(), norm="rows")
    assert 0 <= same < 1e-12


def test_location_shifts_survive_pooling_and_location_scales_do_not() -> None:
    s, t = maps(0, 2, 6, 4, 4), maps(1, 2, 3, 2, 2)
    before = losses.spatial_correlation(s, t)
    shifted = losses.spatial_correlation(s + maps(2, 2, 1, 4, 4), t)
    scaled = losses.spatial_correlation(s * (1 + maps(2, 2, 1, 4, 4).abs()), t)
    torch.testing.assert_close(shifted, before)
    assert abs(scaled - before) > 1e-3


@both_correlations
@pytest.mark.parametrize("norm", ["pearson", "cosine"])
def test_dead_in_both_leaves_the_mean(kind: str, norm: str) -> None:
    s, t = maps(0, 2, 4, 1, 5), maps(1, 2, 4, 1, 5)
    axis = 1 if kind == "channel" else 3
    keep = torch.tensor([i for i in range(s.shape[axis]) if i != 2])
    expected = CORRELATIONS[kind](s.index_select(axis, keep), t.index_select(axis, keep), norm=norm)
    s.select(axis, 2).zero_()
    t.select(axis, 2).zero_()
    torch.testing.assert_close(CORRELATIONS[kind](s, t, norm=norm), expected)


@both_correlations
@pytest.mark.parametrize("value", [0.0, 100.1])
def test_dead_in_the_student_is_a_zero_row_with_zero_gradient(kind: str, value: float) -> None:
    s, t = maps(0, 2, 4, 1, 5, dtype=torch.float32), maps(1, 2, 4, 1, 5, dtype=torch.float32)
    axis = 1 if kind == "channel" else 3
    s.select(axis, 2).fill_(value)
    loss = CORRELATIONS[kind](s.requires_grad_(), t)
    loss.backward()
    oracle = {"channel": channel_oracle, "spatial": spatial_oracle}[kind]
    assert loss.item() == pytest.approx(oracle(array(s), array(t)), rel=1e-5)
    assert s.grad.select(axis, 2).abs().max() == 0
    assert s.grad.abs().max() > 0


@both_correlations
@pytest.mark.parametrize(
    ("offset", "scale", "alive"),
    [(1e4, 1.0, True), (1e6, 1.0, False), (0.0, 1e-4, True), (0.0, 1e-8, False), (1e-6, 1e-5, True)],
)
def test_dead_is_what_rounding_could_have_made(kind: str, offset: float, scale: float, alive: bool) -> None:
    s, t = maps(0, 1, 6, 1, 6), maps(1, 1, 6, 1, 6)
    axis = 1 if kind == "channel" else 3
    s.select(axis, 0).mul_(scale).add_(offset)
    CORRELATIONS[kind](s.requires_grad_(), t).backward()
    assert bool(s.grad.select(axis, 0).abs().max() > 0) == alive


def test_dead_everywhere_costs_nothing() -> None:
    for loss in CORRELATIONS.values():
        student = torch.zeros(2, 3, 4, 4, requires_grad=True)
        value = loss(student, torch.ones(2, 3, 4, 4))
        value.backward()
        assert value.item() == 0
        assert student.grad.abs().max() == 0


def test_float32_adds_up_a_million_pairs() -> None:
    x, y = maps(0, 1, 1200, 25, 25), maps(1, 1, 1200, 25, 25)
    exact = losses.channel_correlation(x, y).item()
    assert losses.channel_correlation(x.float(), y.float()).item() == pytest.approx(exact, rel=1e-6)


# Both sides of gram_distance: rows that are channels, or locations.
EITHER_SIDE = [
    ("channel", (2, 8, 4, 4)),
    ("channel", (2, 64, 3, 3)),
    ("spatial", (2, 8, 4, 4)),
    ("spatial", (2, 3, 8, 8)),
]


@pytest.mark.parametrize(("kind", "shape"), EITHER_SIDE, ids=str)
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format], ids=str)
def test_a_gradient_lies_in_memory_as_its_map(kind: str, shape: tuple[int, ...], memory: torch.memory_format) -> None:
    student, teacher = (maps(i, *shape).contiguous(memory_format=memory) for i in (0, 1))
    student.requires_grad_()
    (gradient,) = torch.autograd.grad(CORRELATIONS[kind](student, teacher), student)
    assert gradient.stride() == student.stride()


@pytest.mark.parametrize(("kind", "shape"), EITHER_SIDE, ids=str)
def test_a_gradient_is_float32_inside_autocast(kind: str, shape: tuple[int, ...]) -> None:
    student, teacher = (maps(i, *shape, dtype=torch.float32) for i in (0, 1))
    student.requires_grad_()
    (expected,) = torch.autograd.grad(CORRELATIONS[kind](student, teacher), student)
    with torch.autocast("cpu", torch.bfloat16):
        (gradient,) = torch.autograd.grad(CORRELATIONS[kind](student, teacher), student)
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize(("kind", "shape"), EITHER_SIDE, ids=str)
def test_a_second_derivative_is_refused(kind: str, shape: tuple[int, ...]) -> None:
    """Rather than be wrong: the gradient is written out."""
    student = maps(0, *shape).requires_grad_()
    value = CORRELATIONS[kind](student.tanh(), maps(1, *shape))
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(value, student, create_graph=True)


@pytest.mark.parametrize("between", ["classes", "images"])
@pytest.mark.parametrize("norm", ["rows", "pearson", "cosine"])
def test_logits_may_be_scaled_and_shifted_image_by_image(norm: str, between: str) -> None:
    student, teacher = maps(0, 5, 7), maps(1, 5, 7)
    before = losses.logit_correlation(student, teacher, norm, between)
    after = losses.logit_correlation(3 * student + maps(2, 5, 1), teacher / 2 + maps(3, 5, 1), norm, between)
    torch.testing.assert_close(after, before)


def test_correlations_of_logits_are_ickd_between_classes_and_sp_between_images() -> None:
    student, teacher = maps(0, 5, 7), maps(1, 5, 7)
    s, t = (x - x.mean(1, keepdim=True) for x in (student, teacher))
    as_maps = [x.T[None, :, :, None] for x in (s, t)]  # the classes as channels, the batch as locations
    torch.testing.assert_close(
        losses.logit_correlation(student, teacher), losses.channel_correlation(*as_maps, norm="rows")
    )
    torch.testing.assert_close(losses.logit_correlation(student, teacher, between="images"), 5 * losses.sp(s, t))
