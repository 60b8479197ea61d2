"""Transfer losses against loops in plain numpy (float64), their invariances, and what they must survive."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from scl import losses
from scl.config import LOSSES
from scl.losses.correlation import NORMS, POOLS
from scl.losses.grams import gram_gap

torch.set_num_threads(1)


# ---- oracles: float64, one number at a time ----------------------------------------------------------------


def pooled(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Average over equal blocks of locations."""
    h, w = x.shape[2] // size[0], x.shape[3] // size[1]
    out = np.zeros((*x.shape[:2], *size))
    for i in range(size[0]):
        for j in range(size[1]):
            out[:, :, i, j] = x[:, :, i * h : (i + 1) * h, j * w : (j + 1) * w].mean((2, 3))
    return out


def to_smaller(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    return pooled(a, size), pooled(b, size)


def unit(v: np.ndarray) -> np.ndarray:
    length = math.sqrt(sum(float(e) ** 2 for e in v.ravel()))
    return v / length if length > 0 else v


def correlation_oracle(s_groups: list[list], t_groups: list[list], norm: str) -> float:
    """Groups of rows; the mean over pairs of rows of the squared difference of their products."""

    def prepared(rows: list[np.ndarray]) -> list[np.ndarray | None]:
        out: list[np.ndarray | None] = []
        for row in rows:
            raw = float((row**2).sum())
            row = row - row.mean() if norm == "pearson" else row
            energy = float((row**2).sum())
            if norm == "gram":
                out.append(row / math.sqrt(len(row)))
            else:
                out.append(None if energy <= 1e-10 * raw + 1e-12 else row / math.sqrt(energy))
        return out

    def product(a: np.ndarray | None, b: np.ndarray | None) -> float:
        return 0.0 if a is None or b is None else float(np.dot(a, b))

    total, pairs = 0.0, 0
    for s_rows, t_rows in zip(s_groups, t_groups, strict=True):
        s, t = prepared(s_rows), prepared(t_rows)
        for i in range(len(s)):
            for j in range(len(s)):
                if norm != "gram" and i == j:
                    continue
                if (s[i] is None and t[i] is None) or (s[j] is None and t[j] is None):
                    continue
                total += (product(s[i], s[j]) - product(t[i], t[j])) ** 2
                pairs += 1
    return total / max(pairs, 1)


def channel_oracle(s: np.ndarray, t: np.ndarray, norm: str = "pearson", pool: str = "sample") -> float:
    def groups(x: np.ndarray) -> list[list]:
        if pool == "batch":
            return [[np.concatenate([image[c].ravel() for image in x]) for c in range(x.shape[1])]]
        return [[image[c].ravel() for c in range(x.shape[1])] for image in x]

    return correlation_oracle(groups(s), groups(t), norm)


def spatial_oracle(s: np.ndarray, t: np.ndarray, norm: str = "pearson", pool: str = "sample") -> float:
    def groups(x: np.ndarray) -> list[list]:
        places = [(h, w) for h in range(x.shape[2]) for w in range(x.shape[3])]
        if pool == "batch":
            return [[np.concatenate([image[:, h, w] for image in x]) for h, w in places]]
        return [[image[:, h, w] for h, w in places] for image in x]

    s, t = to_smaller(s, t)
    return correlation_oracle(groups(s), groups(t), norm)


def softmax(z: np.ndarray) -> np.ndarray:
    e = [math.exp(v - max(z)) for v in z]
    return np.array(e) / sum(e)


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def kd_oracle(s: np.ndarray, t: np.ndarray, temperature: float = 4.0) -> float:
    rows = [kl(softmax(b / temperature), softmax(a / temperature)) for a, b in zip(s, t, strict=True)]
    return temperature**2 * sum(rows) / len(rows)


def dkd_oracle(
    s: np.ndarray, t: np.ndarray, y: np.ndarray, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0
) -> float:
    total = 0.0
    for a, b, k in zip(s / temperature, t / temperature, y, strict=True):
        p_s, p_t = softmax(a)[k], softmax(b)[k]
        target = kl(np.array([p_t, 1 - p_t]), np.array([p_s, 1 - p_s]))
        others = kl(softmax(np.delete(b, k)), softmax(np.delete(a, k)))
        total += alpha * target + beta * others
    return temperature**2 * total / len(s)


def dist_oracle(s: np.ndarray, t: np.ndarray, temperature: float = 1.0, beta: float = 1.0, gamma: float = 1.0) -> float:
    p = np.array([softmax(row / temperature) for row in s])
    q = np.array([softmax(row / temperature) for row in t])
    inter = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    intra = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    return float(temperature**2 * (beta * (1 - inter) + gamma * (1 - intra)))


def hint_oracle(s: np.ndarray, t: np.ndarray) -> float:
    return sum((a - b) ** 2 for a, b in zip(s.ravel(), t.ravel(), strict=True)) / s.size


def at_oracle(s: np.ndarray, t: np.ndarray) -> float:
    s, t = to_smaller(s, t)
    gaps = []
    for a, b in zip(s, t, strict=True):
        a_map = unit(sum(channel**2 for channel in a) / len(a))
        b_map = unit(sum(channel**2 for channel in b) / len(b))
        gaps.append(((a_map - b_map) ** 2).mean())
    return float(np.mean(gaps))


def sp_oracle(s: np.ndarray, t: np.ndarray) -> float:
    batch, total = len(s), 0.0
    for i in range(batch):
        row_s = unit(np.array([np.dot(s[i].ravel(), s[j].ravel()) for j in range(batch)]))
        row_t = unit(np.array([np.dot(t[i].ravel(), t[j].ravel()) for j in range(batch)]))
        total += sum((row_s - row_t) ** 2)
    return total / batch**2


def huber(d: float) -> float:
    return d * d / 2 if abs(d) < 1 else abs(d) - 0.5


def rkd_oracle(s: np.ndarray, t: np.ndarray, distance_weight: float = 25.0, angle_weight: float = 50.0) -> float:
    batch = len(s)

    def distances(x: np.ndarray) -> np.ndarray:
        d = np.array([[math.dist(a, b) for b in x] for a in x])
        return d / (d.sum() / (batch * (batch - 1)))

    def angle(x: np.ndarray, i: int, j: int, k: int) -> float:
        return float(np.dot(unit(x[j] - x[i]), unit(x[k] - x[i])))

    d_s, d_t = distances(s), distances(t)
    images = range(batch)
    distance = sum(huber(d_s[i, j] - d_t[i, j]) for i in images for j in images) / batch**2
    angles = sum(huber(angle(s, i, j, k) - angle(t, i, j, k)) for i in images for j in images for k in images)
    return distance_weight * distance + angle_weight * angles / batch**3


def pkt_oracle(s: np.ndarray, t: np.ndarray) -> float:
    def row(x: np.ndarray, i: int) -> np.ndarray:
        similar = np.array([(np.dot(unit(x[i]), unit(other)) + 1) / 2 for other in x])
        return similar / similar.sum()

    total = 0.0
    for i in range(len(s)):
        for p, q in zip(row(t, i), row(s, i), strict=True):
            total += p * math.log((p + 1e-7) / (q + 1e-7))
    return total / len(s) ** 2


def nst_oracle(s: np.ndarray, t: np.ndarray) -> float:
    s, t = to_smaller(s, t)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([np.dot(unit(x.ravel()), unit(y.ravel())) ** 2 for x in a for y in b]))

    gaps = [kernel(a, a) + kernel(b, b) - 2 * kernel(a, b) for a, b in zip(s, t, strict=True)]
    return sum(gaps) / len(gaps)


def fsp_oracle(s: tuple[np.ndarray, np.ndarray], t: tuple[np.ndarray, np.ndarray]) -> float:
    def entry(bottom: np.ndarray, top: np.ndarray, image: int, i: int, j: int) -> float:
        return float((bottom[image, i] * top[image, j]).mean())

    s, t = to_smaller(*s), to_smaller(*t)
    gaps = [
        (entry(*s, image, i, j) - entry(*t, image, i, j)) ** 2
        for image in range(len(s[0]))
        for i in range(s[0].shape[1])
        for j in range(s[1].shape[1])
    ]
    return sum(gaps) / len(gaps)


def array(x: Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def vid_oracle(s: np.ndarray, t: np.ndarray, module: nn.Module) -> float:
    s, t = to_smaller(s, t)
    first, second, third = (array(module.regressor[i].weight)[:, :, 0, 0] for i in (0, 2, 4))
    gaps = []
    for image in range(len(s)):
        for h in range(s.shape[2]):
            for w in range(s.shape[3]):
                mean = third @ np.maximum(second @ np.maximum(first @ s[image, :, h, w], 0), 0)
                for c, a in enumerate(array(module.alpha).ravel()):
                    variance = math.log(1 + math.exp(a)) + 1e-5
                    gaps.append(((mean[c] - t[image, c, h, w]) ** 2 / variance + math.log(variance)) / 2)
    return sum(gaps) / len(gaps)


def ickd_oracle(s: np.ndarray, t: np.ndarray, module: nn.Module) -> float:
    weight = array(module.embed[0].weight)[:, :, 0, 0]
    s = np.einsum("dc,bchw->bdhw", weight, s)
    for c in range(s.shape[1]):  # batch norm as it starts: scale 1, shift 0, biased variance
        s[:, c] = (s[:, c] - s[:, c].mean()) / math.sqrt(s[:, c].var() + 1e-5)
    total = 0.0
    for a, b in zip(s, t, strict=True):
        for i in range(len(a)):
            row_a = unit(np.array([np.dot(a[i].ravel(), other.ravel()) for other in a]))
            row_b = unit(np.array([np.dot(b[i].ravel(), other.ravel()) for other in b]))
            total += sum((row_a - row_b) ** 2)
    return total / (len(s) * s.shape[1])


def cc_oracle(s: np.ndarray, t: np.ndarray, module: nn.Module) -> float:
    def embedded(linear: nn.Linear, x: np.ndarray) -> np.ndarray:
        return array(linear.weight) @ x + array(linear.bias)

    delta = [
        abs(embedded(module.embed_student, a) - embedded(module.embed_teacher, b)) for a, b in zip(s, t, strict=True)
    ]
    return float(np.mean([np.dot(a, b) for a, b in pairwise(delta)]))


# ---- cases: a loss, the shapes it is given, its oracle -----------------------------------------------------

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    name: str
    student: Any  # a shape, or a pair of shapes
    teacher: Any
    oracle: Callable[..., float]
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        options = ",".join(f"{k}={v}" for k, v in self.options)
        return f"{self.name}({options})-{self.student}-{self.teacher}".replace(" ", "")

    @property
    def is_module(self) -> bool:
        return isinstance(getattr(losses, self.name), type)

    def build(self) -> Callable[..., Tensor]:
        loss = getattr(losses, self.name)
        if not self.is_module:
            return lambda *tensors: loss(*tensors, **dict(self.options))
        torch.manual_seed(0)
        return loss(self.student[1], self.teacher[1])

    def inputs(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Any]:
        generator = torch.Generator().manual_seed(seed)

        def draw(shape: Any) -> Any:
            if isinstance(shape[0], tuple):
                return tuple(draw(part) for part in shape)
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        out = [draw(self.student), draw(self.teacher)]
        if self.name == "dkd":
            out.append(torch.randint(self.student[1], self.student[:1], generator=generator))
        return out


def correlations(name: str, oracle: Callable[..., float], shapes: list[tuple[Shape, Shape]]) -> list[Case]:
    return [
        Case(name, s, t, oracle, (("norm", norm), ("pool", pool)))
        for s, t in shapes
        for norm in NORMS
        for pool in POOLS
    ]


# One small case of each kind, for the slower checks.
SMALL = [
    *correlations("channel_correlation", channel_oracle, [((2, 4, 3, 3), (2, 4, 2, 2))]),
    *correlations("spatial_correlation", spatial_oracle, [((2, 3, 2, 4), (2, 5, 2, 2))]),
    Case("kd", (3, 5), (3, 5), kd_oracle),
    Case("dkd", (3, 5), (3, 5), dkd_oracle),
    Case("dist", (3, 5), (3, 5), dist_oracle),
    Case("hint", (2, 3, 2, 2), (2, 3, 2, 2), hint_oracle),
    Case("at", (2, 3, 4, 4), (2, 5, 2, 2), at_oracle),
    Case("sp", (3, 2, 2, 2), (3, 3, 1, 1), sp_oracle),
    Case("rkd", (4, 3), (4, 5), rkd_oracle),
    Case("pkt", (4, 3), (4, 5), pkt_oracle),
    Case("nst", (2, 3, 4, 4), (2, 2, 4, 2), nst_oracle),
    Case(
        "fsp",
        ((2, 2, 4, 4), (2, 3, 2, 2)),
        ((2, 2, 2, 2), (2, 3, 2, 2)),
        fsp_oracle,
    ),
    Case("vid", (2, 3, 4, 4), (2, 2, 2, 2), vid_oracle),
    Case("ickd", (3, 2, 3, 3), (3, 3, 2, 2), ickd_oracle),
    Case("cc", (4, 3), (4, 5), cc_oracle),
]
LARGER = [
    # The cheaper side of both correlations: many more locations than channels, and the reverse.
    *correlations("spatial_correlation", spatial_oracle, [((3, 3, 6, 6), (3, 4, 6, 6))]),
    *correlations("channel_correlation", channel_oracle, [((3, 30, 2, 2), (3, 30, 3, 3))]),
    Case("kd", (8, 20), (8, 20), kd_oracle, (("temperature", 1.0),)),
    Case("dkd", (8, 20), (8, 20), dkd_oracle, (("alpha", 2.0), ("beta", 0.5), ("temperature", 1.0))),
    Case("dist", (8, 20), (8, 20), dist_oracle, (("temperature", 2.0), ("beta", 3.0), ("gamma", 0.5))),
    Case("hint", (8, 20), (8, 20), hint_oracle),
    Case("at", (4, 7, 3, 3), (4, 5, 6, 9), at_oracle),
    Case("sp", (7, 20), (7, 5), sp_oracle),
    Case("rkd", (7, 20), (7, 5), rkd_oracle, (("distance_weight", 3.0), ("angle_weight", 7.0))),
    Case("pkt", (7, 20), (7, 5), pkt_oracle),
    Case("nst", (3, 4, 5, 5), (3, 3, 5, 5), nst_oracle),
    Case("nst", (3, 9, 2, 2), (3, 12, 2, 2), nst_oracle),
    Case("fsp", ((3, 4, 3, 3), (3, 2, 6, 6)), ((3, 4, 6, 6), (3, 2, 2, 2)), fsp_oracle),
    Case("vid", (3, 4, 2, 2), (3, 5, 4, 4), vid_oracle),
    Case("ickd", (3, 5, 4, 4), (3, 5, 4, 4), ickd_oracle),
    Case("cc", (9, 12), (9, 7), cc_oracle),
]

small_cases = pytest.mark.parametrize("case", SMALL, ids=str)


def numpy_inputs(inputs: list[Any]) -> list[Any]:
    return [tuple(map(array, x)) if isinstance(x, tuple) else x.numpy().astype(float) for x in inputs[:2]] + [
        x.numpy() for x in inputs[2:]
    ]


@pytest.mark.parametrize("case", SMALL + LARGER, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_value_is_the_oracles(case: Case, seed: int) -> None:
    inputs, loss = case.inputs(seed), case.build()
    value = loss(*inputs)
    extra = {"module": loss} if case.is_module else dict(case.options)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(case.oracle(*numpy_inputs(inputs), **extra), rel=1e-5, abs=1e-7)


def test_every_public_loss_has_a_case() -> None:
    assert {case.name for case in SMALL} == set(losses.__all__)


def test_options_are_those_of_the_table() -> None:
    public = {"channel": "channel_correlation", "spatial": "spatial_correlation"}
    assert {public.get(name, name) for name in LOSSES} == set(losses.__all__)
    for name, options in LOSSES.items():
        parameters = inspect.signature(getattr(losses, public.get(name, name))).parameters.values()
        assert {p.name: p.default for p in parameters if p.default is not p.empty} == options, name
        required = [p.name for p in parameters if p.default is p.empty]
        expected = ["student", "teacher"] + ["target"] * (name == "dkd")
        if isinstance(getattr(losses, name, None), type):
            expected = ["student_channels", "teacher_channels"]
        assert required == expected, name


# ---- gradients ---------------------------------------------------------------------------------------------


def leaves(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def with_leaves(inputs: list[Any], student: tuple[Tensor, ...]) -> list[Any]:
    return [student if isinstance(inputs[0], tuple) else student[0], *inputs[1:]]


@small_cases
def test_gradient_is_that_of_the_value(case: Case) -> None:
    inputs, loss = case.inputs(3, torch.float64), case.build()
    if isinstance(loss, nn.Module):
        loss.double()
    student = [x.requires_grad_() for x in leaves(inputs[0])]
    teacher = [x.requires_grad_() for x in leaves(inputs[1])]

    def value(*tensors: Tensor) -> Tensor:
        parts = tensors[: len(student)], tensors[len(student) :]
        s, t = parts if isinstance(inputs[0], tuple) else (parts[0][0], parts[1][0])
        return loss(s, t, *inputs[2:])

    assert torch.autograd.gradcheck(value, (*student, *teacher))


@pytest.mark.parametrize("name", ["vid", "ickd", "cc"])
def test_learned_parts_train(name: str) -> None:
    (case,) = (case for case in SMALL if case.name == name)
    inputs, loss = case.inputs(), case.build()
    loss(*inputs).backward()
    for parameter, tensor in loss.named_parameters():
        assert tensor.grad is not None, parameter
        assert torch.isfinite(tensor.grad).all()
    assert any(tensor.grad.abs().sum() > 0 for tensor in loss.parameters())


def degenerate(x: Tensor, kind: str) -> Tensor:
    x = x.clone()
    if kind == "zeros":
        return torch.zeros_like(x)
    if kind == "constant":
        return torch.full_like(x, 3.7)
    if kind == "dead channel":
        x[:, 0] = 0
    elif kind == "constant channel":
        x[:, 0] = 100.1
    elif kind == "dead image":
        x[0] = 0
    elif kind == "equal images":
        x[:] = x[0]
    elif kind == "dead location" and x.ndim == 4:
        x[:, :, 0, 0] = 0
    elif kind == "tiny":
        x *= 1e-12
    elif kind == "large":
        x *= 1e4
    return x


KINDS = ["zeros", "constant", "dead channel", "constant channel", "dead image", "equal images", "dead location"]


@small_cases
@pytest.mark.parametrize("kind", [*KINDS, "tiny", "large"])
@pytest.mark.parametrize("both", [False, True], ids=["student", "both"])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bf16-autocast"])
def test_degenerate_inputs_stay_finite(case: Case, kind: str, both: bool, half: bool) -> None:
    inputs, loss = case.inputs(), case.build()
    student = tuple(degenerate(x, kind) for x in leaves(inputs[0]))
    if both:
        teacher = tuple(degenerate(x, kind) for x in leaves(inputs[1]))
        inputs[1] = teacher if isinstance(inputs[1], tuple) else teacher[0]
    if half:
        student = tuple(x.bfloat16() for x in student)
    student = tuple(x.requires_grad_() for x in student)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        value = loss(*with_leaves(inputs, student))
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert all(torch.isfinite(x.grad).all() for x in student)


@small_cases
def test_autocast_does_not_change_a_value(case: Case) -> None:
    loss = case.build()

    def cast(value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, tuple):
            return tuple(cast(part, dtype) for part in value)
        return value.to(dtype) if value.is_floating_point() else value

    half = [cast(x, torch.bfloat16) for x in case.inputs()]
    expected = loss(*[cast(x, torch.float32) for x in half])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(*half), expected)


@pytest.mark.parametrize("name", ["sp", "rkd", "pkt", "at", "nst", "dist"])
def test_what_has_no_direction_sends_back_no_explosion(name: str) -> None:
    """Dividing a zero row by an epsilon gives gradients of 1e8 to 1e12."""
    (case,) = (case for case in SMALL if case.name == name)
    inputs, loss = case.inputs(), case.build()
    student = degenerate(inputs[0], "dead image").requires_grad_()
    loss(student, *inputs[1:]).backward()
    assert student.grad.abs().max() < 1e3


@small_cases
def test_nothing_reads_a_value_from_the_device(case: Case) -> None:
    """Fake tensors have no values: `.item()`, a branch on a value and indexing by a mask raise."""
    with FakeTensorMode():
        with pytest.raises(DataDependentOutputException):
            torch.ones(()).item()
        inputs, loss = case.inputs(), case.build()
        student = tuple(x.requires_grad_() for x in leaves(inputs[0]))
        loss(*with_leaves(inputs, student)).backward()
        assert all(x.grad.shape == x.shape for x in student)


# ---- the two correlations ----------------------------------------------------------------------------------

CORRELATIONS = {"channel": losses.channel_correlation, "spatial": losses.spatial_correlation}
both_correlations = pytest.mark.parametrize("kind", CORRELATIONS)


def maps(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


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


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=st.integers(2, 30), p=st.integers(1, 4), q=st.integers(1, 4))
def test_either_side_is_the_naive_product(seed: int, rows: int, p: int, q: int) -> None:
    """And so are the gradients of both stacks, which are written out."""
    x, y = maps(seed, 2, rows, p).requires_grad_(), maps(seed + 1, 2, rows, q).requires_grad_()
    value = gram_gap(x, y)
    naive = gap_of_products(x, y).square().sum()
    torch.testing.assert_close(value, naive, rtol=1e-9, atol=1e-9)
    for found, expected in zip(*(torch.autograd.grad(3 * v, (x, y)) for v in (value, naive)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=st.integers(2, 30), p=st.integers(1, 4), q=st.integers(1, 4))
def test_without_the_diagonal_rows_are_of_length_1_or_0(seed: int, rows: int, p: int, q: int) -> None:
    """The gradient is right in every direction but a row's own."""
    alive = [torch.rand(2, rows, 1, generator=torch.Generator().manual_seed(seed + i)) > 0.3 for i in (0, 1)]
    x, y = (nn.functional.normalize(maps(seed + i, 2, rows, n), dim=-1) * alive[i] for i, n in ((0, p), (1, q)))
    x.requires_grad_()
    value = gram_gap(x, y, (alive[0] ^ alive[1]).sum())
    naive = (gap_of_products(x, y) * (1 - torch.eye(rows))).square().sum()
    torch.testing.assert_close(value, naive, rtol=1e-9, atol=1e-9)
    across = [g - x * (g * x).sum(-1, keepdim=True) for g in (torch.autograd.grad(v, x)[0] for v in (value, naive))]
    torch.testing.assert_close(*across, rtol=1e-9, atol=1e-9)


def gap_of_products(x: Tensor, y: Tensor) -> Tensor:
    return torch.einsum("gip,gjp->gij", x, x) - torch.einsum("gip,gjp->gij", y, y)


TALL = [("spatial_correlation", (2, 64, 16, 16)), ("nst", (2, 64, 16, 16)), ("channel_correlation", (2, 400, 4, 4))]


@pytest.mark.parametrize(("name", "shape"), TALL, ids=str)
def test_cheaper_side_keeps_nearly_equal_maps_apart_in_float32(name: str, shape: tuple[int, ...]) -> None:
    """They are 1e-4 apart where a float32 rounds by 6e-8: 6e-4 is what rounding the maps costs, and nearly all that is
    lost. With the gradient's products in float32 it was 1e-3 to 2e-3."""
    loss, x = getattr(losses, name), maps(0, *shape)
    exact = (x + 1e-4 * maps(1, *shape)).requires_grad_()
    single = exact.detach().float().requires_grad_()
    value, rounded = loss(exact, x), loss(single, x.float())
    value.backward()
    rounded.backward()
    assert rounded.item() == pytest.approx(value.item(), rel=1e-3)
    assert (single.grad - exact.grad).norm() < 9e-4 * exact.grad.norm()


def test_float32_adds_up_a_million_pairs() -> None:
    x, y = maps(0, 1, 1200, 25, 25), maps(1, 1, 1200, 25, 25)
    exact = losses.channel_correlation(x, y).item()
    assert losses.channel_correlation(x.float(), y.float()).item() == pytest.approx(exact, rel=1e-6)


# Both sides of gram_gap: rows that are channels, or locations.
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


@pytest.mark.parametrize("name", ["spatial_correlation", "nst"])
def test_no_matrix_of_locations_is_kept(name: str) -> None:
    """64 channels of 32 × 32: 1024 × 1024 an image would be 16 times the map."""
    kept: list[int] = []

    def pack(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    student, teacher = torch.randn(2, 64, 32, 32, requires_grad=True), torch.randn(2, 64, 32, 32)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        getattr(losses, name)(student, teacher)
    assert max(kept) == student.numel()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spatial_correlation", "nst"])
def test_peak_memory_of_a_large_map(name: str) -> None:
    """64 images of 64 channels × 32 × 32, forward and backward, in a process of its own."""
    script = f"""
import torch
from scl.losses import {name} as loss
# Not ru_maxrss: a child inherits that of the process that started it.
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
loss(torch.randn(2, 64, 32, 32, requires_grad=True), torch.randn(2, 64, 32, 32)).backward()
student, teacher = torch.randn(64, 64, 32, 32, requires_grad=True), torch.randn(64, 64, 32, 32)
before = peak()
loss(student, teacher).backward()
print(peak() - before)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 10 < float(out.stdout) < 600


# ---- the others --------------------------------------------------------------------------------------------

ZERO_WHEN_EQUAL = [case for case in SMALL if not case.is_module and case.name != "dist"]


@pytest.mark.parametrize("case", ZERO_WHEN_EQUAL, ids=str)
def test_zero_when_equal_and_not_otherwise(case: Case) -> None:
    inputs, loss = case.inputs(), case.build()
    assert loss(inputs[0], inputs[0], *inputs[2:]).item() == 0
    assert loss(*inputs).item() > 0


def test_dist_is_about_zero_when_equal() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    assert losses.dist(logits, logits).item() == pytest.approx(0, abs=1e-5)


def test_dkd_of_certain_networks_is_finite_and_right() -> None:
    """Probabilities that underflow: the teacher is certain of class 0, the student of class 1."""
    student = torch.tensor([[0.0, 500.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[500.0, 0.0, 0.0]])
    value = losses.dkd(student, teacher, torch.tensor([0]), beta=0.0, temperature=1.0)
    value.backward()
    assert value.item() == pytest.approx(500)
    assert student.grad.tolist() == [pytest.approx([-1.0, 1.0, 0.0])]


def test_vid_starts_with_a_variance_of_five() -> None:
    module = losses.vid(2, 3)
    zeros = torch.zeros(1, 2, 2, 2)
    assert module(zeros, torch.zeros(1, 3, 2, 2)).item() == pytest.approx(math.log(5) / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.channel_correlation(maps(0, 2, 3, 2, 2), maps(0, 2, 4, 2, 2)), "3 .* 4.*connector"),
        (lambda: losses.channel_correlation(maps(0, 2, 1, 2, 2), maps(0, 2, 1, 2, 2)), "one channel"),
        (lambda: losses.channel_correlation(maps(0, 2, 3, 1, 1), maps(0, 2, 3, 2, 2)), "student.*one location"),
        (lambda: losses.channel_correlation(maps(0, 2, 3, 2, 2), maps(0, 2, 3, 1, 1)), "teacher.*one location"),
        (lambda: losses.channel_correlation(maps(0, 2, 3), maps(0, 2, 3, 2, 2)), r"\(B, C, H, W\)"),
        (lambda: losses.channel_correlation(maps(0, 2, 3, 2, 2), maps(0, 1, 3, 2, 2)), "2 and 1 images"),
        (lambda: losses.channel_correlation(*[maps(0, 2, 3, 2, 2)] * 2, norm="cos"), "'cos'; valid: pearson"),
        (lambda: losses.spatial_correlation(*[maps(0, 2, 3, 2, 2)] * 2, pool="all"), "'all'; valid: sample"),
        (lambda: losses.spatial_correlation(maps(0, 2, 3, 2, 2), maps(0, 2, 3, 1, 1)), "one location"),
        (lambda: losses.spatial_correlation(maps(0, 2, 3, 2, 2), maps(0, 2, 1, 2, 2)), "teacher.*one channel"),
        (lambda: losses.kd(maps(0, 2, 3), maps(0, 2, 4)), "one shape"),
        (lambda: losses.kd(maps(0, 2, 3, 2, 2), maps(0, 2, 3, 2, 2)), r"\(B, K\)"),
        (lambda: losses.kd(maps(0, 2, 3), maps(0, 2, 3), temperature=0.0), "temperature"),
        (lambda: losses.dkd(maps(0, 2, 3), maps(0, 2, 3), torch.zeros(3, dtype=torch.long)), "target"),
        (lambda: losses.dkd(maps(0, 2, 1), maps(0, 2, 1), torch.zeros(2, dtype=torch.long)), "one class"),
        (lambda: losses.dist(maps(0, 2, 3), maps(0, 1, 3)), "one shape"),
        (lambda: losses.hint(maps(0, 2, 3, 2, 2), maps(0, 2, 1, 2, 2)), "one shape"),
        (lambda: losses.at(maps(0, 2, 3), maps(0, 2, 3)), r"\(B, C, H, W\)"),
        (lambda: losses.sp(maps(0, 2, 3), maps(0, 3, 3)), "2 and 3 images"),
        (lambda: losses.rkd(maps(0, 1, 3), maps(0, 1, 3)), "at least 2"),
        (lambda: losses.pkt(maps(0, 1, 3), maps(0, 1, 3)), "at least 2"),
        (lambda: losses.cc(3, 3)(maps(0, 1, 3).float(), maps(0, 1, 3).float()), "at least 2"),
        (lambda: losses.fsp((maps(0, 1, 3, 2, 2),) * 2, (maps(0, 1, 4, 2, 2),) * 2), "connector"),
    ],
)
def test_what_cannot_be_compared_is_refused(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
