"""Oracles of the losses, one number at a time in float64, and small cases of each loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scl import losses
from scl.study.loss_table import LOSSES, NORMS, POOLS, RELATED

Groups = list[list[np.ndarray]]


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


def correlation_oracle(s_groups: Groups, t_groups: Groups, norm: str) -> float:
    """Groups of rows; the mean over pairs of rows of the squared difference of their products."""
    if norm == "rows":
        return rows_oracle(s_groups, t_groups)

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


def rows_oracle(s_groups: Groups, t_groups: Groups) -> float:
    """The mean over rows of the squared distance of their products with all rows, as vectors of length 1 or 0."""

    def relatives(rows: list[np.ndarray], i: int) -> np.ndarray:
        products = np.array([float(np.dot(rows[i], other)) for other in rows])
        length = math.sqrt(sum(products**2))
        return products / length if length > 1e-12 else 0 * products

    gaps = [
        sum((relatives(s, i) - relatives(t, i)) ** 2)
        for s, t in zip(s_groups, t_groups, strict=True)
        for i in range(len(s))
    ]
    return float(np.mean(gaps))


def channel_oracle(s: np.ndarray, t: np.ndarray, norm: str = "pearson", pool: str = "sample") -> float:
    def groups(x: np.ndarray) -> Groups:
        if pool == "batch":
            return [[np.concatenate([image[c].ravel() for image in x]) for c in range(x.shape[1])]]
        return [[image[c].ravel() for c in range(x.shape[1])] for image in x]

    return correlation_oracle(groups(s), groups(t), norm)


def spatial_oracle(s: np.ndarray, t: np.ndarray, norm: str = "pearson", pool: str = "sample") -> float:
    def groups(x: np.ndarray) -> Groups:
        places = [(h, w) for h in range(x.shape[2]) for w in range(x.shape[3])]
        if pool == "batch":
            return [[np.concatenate([image[:, h, w] for image in x]) for h, w in places]]
        return [[image[:, h, w] for h, w in places] for image in x]

    s, t = to_smaller(s, t)
    return correlation_oracle(groups(s), groups(t), norm)


def logit_oracle(s: np.ndarray, t: np.ndarray, norm: str = "rows", between: str = "classes") -> float:
    def groups(x: np.ndarray) -> Groups:
        rows = [image - sum(image) / len(image) for image in x]
        return [rows if between == "images" else [np.array(row) for row in zip(*rows, strict=True)]]

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


def nkd_oracle(s: np.ndarray, t: np.ndarray, y: np.ndarray, gamma: float = 1.5, temperature: float = 1.0) -> float:
    total = 0.0
    for a, b, k in zip(s, t, y, strict=True):
        total -= softmax(b)[k] * math.log(softmax(a)[k])
        q_s, q_t = (softmax(np.delete(z, k) / temperature) for z in (a, b))
        total -= gamma * temperature**2 * float(np.dot(q_t, np.log(q_s)))
    return total / len(s)


def wttm_oracle(s: np.ndarray, t: np.ndarray, temperature: float = 4.0) -> float:
    """In the form of the authors' code: the teacher's probabilities to a power, and the sum that normalises them."""
    total = 0.0
    for a, b in zip(s, t, strict=True):
        powers = softmax(b) ** (1 / temperature)
        total += powers.sum() * kl(powers / powers.sum(), softmax(a))
    return total / len(s)


def ldrld_oracle(
    s: np.ndarray, t: np.ndarray, alpha: float = 10.5, beta: float = 7.0, top: int = 7, temperature: float = 4.0
) -> float:
    """Set of classes by set of classes: each has its own softmax."""

    def divergence(a: np.ndarray, b: np.ndarray, classes: list[int]) -> float:
        p, q = softmax(a[classes] / temperature), softmax(b[classes] / temperature)
        return temperature**2 * sum(v * math.log(v / u) for u, v in zip(p, q, strict=True))

    total = 0.0
    for a, b in zip(s, t, strict=True):
        first, rest = list(np.argsort(-a)[:top]), list(np.argsort(-a)[top:])
        local = [divergence(a, b, first)]
        for i, j in combinations(range(len(first)), 2):
            weight = 2 / (1.5 + j - i) * math.exp(-0.05 * (i + j + 2))
            local.append(weight * divergence(a, b, [first[i], first[j]]))
        total += alpha * float(np.mean(local)) + (beta * divergence(a, b, rest) if rest else 0)
    return total / len(s)


def mlld_oracle(
    s: np.ndarray, t: np.ndarray, instance: float = 1.0, batch: float = 1.0, classes: float = 1.0, norm: str = "none"
) -> float:
    """Entry by entry of the relations; `norm` is that of the first level alone."""
    of_images = standardised(kd_oracle) if norm == "zscore" else kd_oracle
    total = 0.0
    for temperature in (2.0, 3.0, 4.0, 5.0, 6.0):
        options = {"norm": norm} if norm == "zscore" else {}
        total += instance * of_images(s, t, temperature=temperature, **options)
        p, q = (np.array([softmax(row / temperature) for row in x]) for x in (s, t))
        for weight, a, b in ((batch, p, q), (classes, p.T, q.T)):
            gaps = [(np.dot(a[i], a[j]) - np.dot(b[i], b[j])) ** 2 for i in range(len(a)) for j in range(len(a))]
            total += weight * sum(gaps) / len(a)
    return total


def ctkd_oracle(s: np.ndarray, t: np.ndarray, module: Any) -> float:
    temperature = module.start + module.span / (1 + math.exp(-module.theta.item()))
    oracle = standardised(kd_oracle) if module.norm == "zscore" else kd_oracle
    return oracle(s, t, temperature=temperature, **({"norm": "zscore"} if module.norm == "zscore" else {}))


def standardised(oracle: Callable[..., float]) -> Callable[..., float]:
    """The oracle on logits of which each row has mean 0 and standard deviation 1."""

    def z(x: np.ndarray) -> np.ndarray:
        return np.array([(row - row.mean()) / (row.std(ddof=1) + 1e-7) for row in x])

    def run(s: np.ndarray, t: np.ndarray, *rest: Any, norm: str, **options: float) -> float:
        assert norm == "zscore"
        return oracle(z(s), z(t), *rest, **options)

    return run


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


def vid_oracle(s: np.ndarray, t: np.ndarray, module: Any) -> float:
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


def ickd_oracle(s: np.ndarray, t: np.ndarray, module: Any) -> float:
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


def catkd_oracle(s: np.ndarray, t: np.ndarray, size: int = 2) -> float:
    """Window by window; neighbours share rows or columns where `size` does not divide the side."""

    def window(x: np.ndarray, i: int, j: int) -> np.ndarray:
        rows, columns = (
            slice(k * side // size, math.ceil((k + 1) * side / size))
            for k, side in zip((i, j), x.shape[2:], strict=True)
        )
        return x[:, :, rows, columns].mean((2, 3))

    gaps = [((window(s, i, j) - window(t, i, j)) ** 2).mean() for i in range(size) for j in range(size)]
    return float(np.mean(gaps))


def norm_oracle(s: np.ndarray, t: np.ndarray, segments: int = 8) -> float:
    """Segment by segment and channel by channel: channel n·C_t + c of the student is compared with c of the teacher."""
    s, t = to_smaller(s, t)
    channels = t.shape[1]
    gaps = [s[:, n * channels + c] - t[:, c] for n in range(segments) for c in range(channels)]
    return sum(float((gap**2).sum()) for gap in gaps) / t.size


def simkd_oracle(s: np.ndarray, t: np.ndarray) -> float:
    """Location by location of the smaller map: the squared distance of two vectors of channels."""
    s, t = to_smaller(s, t)
    vectors = [(a[:, h, w], b[:, h, w]) for a, b in zip(s, t, strict=True) for h, w in np.ndindex(*s.shape[2:])]
    return sum(float(np.dot(a - b, a - b)) for a, b in vectors) / (len(vectors) * s.shape[1])


def cc_oracle(s: np.ndarray, t: np.ndarray, module: Any) -> float:
    def embedded(linear: nn.Linear, x: np.ndarray) -> np.ndarray:
        return array(linear.weight) @ x + array(linear.bias)

    delta = [
        abs(embedded(module.embed_student, a) - embedded(module.embed_teacher, b)) for a, b in zip(s, t, strict=True)
    ]
    return float(np.mean([np.dot(a, b) for a, b in pairwise(delta)]))


def normalised(x: np.ndarray) -> np.ndarray:
    """Batch norm as it starts: scale 1, shift 0, biased variance."""
    channels = [(x[:, c] - x[:, c].mean()) / math.sqrt(x[:, c].var() + 1e-5) for c in range(x.shape[1])]
    return np.stack(channels, 1)


def nearest(x: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = [i * x.shape[2] // height for i in range(height)]
    return x[:, :, rows][:, :, :, [j * x.shape[3] // width for j in range(width)]]


def convolved(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A convolution that keeps the size, one shift of the map at a time."""
    side, (height, width) = weight.shape[2], x.shape[2:]
    wide = np.pad(x, ((0, 0), (0, 0), (side // 2,) * 2, (side // 2,) * 2))
    parts = [
        np.einsum("dc,bchw->bdhw", weight[:, :, i, j], wide[:, :, i : i + height, j : j + width])
        for i in range(side)
        for j in range(side)
    ]
    return sum(parts[1:], parts[0])


def reviewkd_oracle(s: tuple[np.ndarray, ...], t: tuple[np.ndarray, ...], module: Any) -> float:
    total, below = 0.0, None
    for level in reversed(range(len(s))):
        fusion, b = module.fusions[level], t[level]
        x = normalised(convolved(array(fusion.reduce[0].weight), s[level]))
        if below is not None:
            below = nearest(below, *x.shape[2:])
            z = convolved(array(fusion.attend.weight), np.concatenate([x, below], 1))
            z = 1 / (1 + np.exp(-z - array(fusion.attend.bias)[:, None, None]))
            x = x * z[:, :1] + below * z[:, 1:]
        below = nearest(x, *b.shape[2:])
        a = normalised(convolved(array(fusion.expand[0].weight), below))
        sides = [side for side in (4, 2, 1) if side < min(a.shape[2:])]
        gaps = [((a - b) ** 2).mean(), *(((pooled(a, (n, n)) - pooled(b, (n, n))) ** 2).mean() for n in sides)]
        weights = [0.5**i for i in range(len(gaps))]
        total += sum(w * gap for w, gap in zip(weights, gaps, strict=True)) / sum(weights)
    return total


def ofd_oracle(s: tuple[np.ndarray, ...], t: tuple[np.ndarray, ...], module: Any) -> float:
    """Entry by entry."""
    total, layers = 0.0, len(s) - 1
    for layer in range(layers):
        weight = array(module.connectors[layer][0].weight)[:, :, 0, 0]
        a, b = to_smaller(normalised(np.einsum("dc,bchw->bdhw", weight, s[layer])), t[layer])
        for channel in range(b.shape[1]):
            negative = [v for v in b[:, channel].ravel() if v < 0]
            margin = sum(negative) / len(negative) if negative else 0.0
            for mine, its in zip(a[:, channel].ravel(), b[:, channel].ravel(), strict=True):
                wanted = max(its, margin)
                if not mine <= wanted <= 0:
                    total += (mine - wanted) ** 2 / len(a) / 2 ** (layers - 1 - layer)
    return total


def semckd_oracle(s: tuple[np.ndarray, ...], t: tuple[np.ndarray, ...], module: Any) -> float:
    """Image by image."""

    def embedded(layers: Any, x: np.ndarray, image: int) -> np.ndarray:
        row = np.zeros(module.batch_size)
        row[: len(x)] = [float((x[image] * other).sum()) for other in x]
        inside = np.maximum(array(layers[0].weight) @ row + array(layers[0].bias), 0)
        return unit(array(layers[2].weight) @ inside + array(layers[2].bias))

    def regressed(layers: Any, x: np.ndarray) -> np.ndarray:
        x = np.maximum(normalised(convolved(array(layers[0].weight), x)), 0)
        x = np.maximum(normalised(convolved(array(layers[3].weight), x)), 0)
        return convolved(array(layers[6].weight), x)

    total, images = 0.0, len(s[0])
    for i, one in enumerate(s):
        gaps = []
        for j, other in enumerate(t):
            a, b = to_smaller(one, other)
            gaps.append(((regressed(module.regressors[i * len(t) + j], a) - b) ** 2).mean((1, 2, 3)))
        for image in range(images):
            query = embedded(module.queries[i], one, image)
            odds = [math.exp(query @ embedded(module.keys[j], other, image)) for j, other in enumerate(t)]
            total += sum(odd * gap[image] for odd, gap in zip(odds, gaps, strict=True)) / sum(odds)
    return total / (images * len(s))


def crd_oracle(s: np.ndarray, t: np.ndarray, index: np.ndarray, module: Repeated) -> float:
    """Image by image, and each of its comparisons as the answer of a judge: is it the same image?"""
    loss, state = module.loss, {name: array(value) for name, value in module.state.items()}
    torch.manual_seed(module.seed)
    others = loss.drawn(torch.from_numpy(index)).numpy()
    images, (count, total) = len(state["student_memory"]), (others.shape[1], 0.0)
    for x, memory, linear in (
        (s, state["teacher_memory"], loss.embed_student),
        (t, state["student_memory"], loss.embed_teacher),
    ):
        rows = [unit(array(linear.weight) @ row + array(linear.bias)) for row in x]
        raw = [
            [math.exp(float(np.dot(row, memory[i])) / loss.temperature) for i in (own, *other)]
            for row, own, other in zip(rows, index, others, strict=True)
        ]
        constant = images * float(np.mean(raw))
        for scores in raw:
            for k, score in enumerate(scores):
                odds = score / constant / (count / images + 1e-7 * (k == 0))
                sure = odds / (1 + odds) if k == 0 else 1 / (1 + odds + 1e-7 * images / count)
                total -= math.log(sure)
    return total / len(s)


class Repeated(nn.Module):
    """A loss that remembers images, in each call as it was at first, and with the same draws."""

    seed = 5

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss
        self.state = {name: value.clone() for name, value in loss.named_buffers()}

    def forward(self, *inputs: Tensor) -> Tensor:
        for name, value in self.loss.named_buffers():
            value.copy_(self.state[name])
        torch.manual_seed(self.seed)
        return self.loss(*inputs)


def channels_of(shape: Any) -> Any:
    return tuple(map(channels_of, shape)) if isinstance(shape[0], tuple) else shape[1]


# ---- cases: a loss, the shapes of its inputs, its oracle --------------------------------------------------------

Shape = tuple[int, ...]
TRAINING_LABELS = torch.tensor([3, 0, 1, 0, 1, 1, 3, 0, 0, 3, 1, 0])  # for losses that remember images


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

    @property
    def remembers(self) -> bool:
        return self.name == "crd"

    def build(self) -> Callable[..., Tensor]:
        loss = getattr(losses, self.name)
        if not self.is_module:
            return lambda *tensors: loss(*tensors, **dict(self.options))
        torch.manual_seed(0)
        if self.remembers:
            return Repeated(loss(self.student[1], self.teacher[1], TRAINING_LABELS, **dict(self.options)))
        return loss(*(channels_of(side) for side in (self.student, self.teacher)), **dict(self.options))

    def inputs(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Any]:
        generator = torch.Generator().manual_seed(seed)

        def draw(shape: Any) -> Any:
            if isinstance(shape[0], tuple):
                return tuple(draw(part) for part in shape)
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        out = [draw(self.student), draw(self.teacher)]
        if self.name in ("dkd", "nkd"):
            out.append(torch.randint(self.student[1], self.student[:1], generator=generator))
        if self.remembers:
            out.append(torch.randperm(len(TRAINING_LABELS), generator=generator)[: self.student[0]])
        return out


def correlations(name: str, oracle: Callable[..., float], shapes: list[tuple[Shape, Shape]]) -> list[Case]:
    return [
        Case(name, s, t, oracle, (("norm", norm), ("pool", pool)))
        for s, t in shapes
        for norm in NORMS
        for pool in POOLS
    ]


def logit_correlations(shape: Shape) -> list[Case]:
    return [
        Case("logit_correlation", shape, shape, logit_oracle, (("norm", norm), ("between", between)))
        for norm in NORMS
        for between in RELATED
    ]


OF_LOGITS: dict[str, Callable[..., float]] = {
    "kd": kd_oracle,
    "dkd": dkd_oracle,
    "dist": dist_oracle,
    "nkd": nkd_oracle,
    "wttm": wttm_oracle,
    "ldrld": ldrld_oracle,
}
ZSCORE = (("norm", "zscore"),)
# One small case of each kind, for the slower checks.
SMALL = [
    *correlations("channel_correlation", channel_oracle, [((2, 4, 3, 3), (2, 4, 2, 2))]),
    *correlations("spatial_correlation", spatial_oracle, [((2, 3, 2, 4), (2, 5, 2, 2))]),
    *logit_correlations((3, 5)),
    Case("kd", (3, 5), (3, 5), kd_oracle),
    Case("dkd", (3, 5), (3, 5), dkd_oracle),
    Case("dist", (3, 5), (3, 5), dist_oracle),
    Case("nkd", (3, 5), (3, 5), nkd_oracle),
    Case("wttm", (3, 5), (3, 5), wttm_oracle),
    Case("ldrld", (3, 5), (3, 5), ldrld_oracle, (("top", 3),)),
    *(Case(name, (3, 5), (3, 5), standardised(of), ZSCORE) for name, of in OF_LOGITS.items()),
    Case("mlld", (3, 5), (3, 5), mlld_oracle),
    Case("mlld", (3, 5), (3, 5), mlld_oracle, ZSCORE),
    Case("ctkd", (3, 5), (3, 5), ctkd_oracle),
    Case("ctkd", (3, 5), (3, 5), ctkd_oracle, ZSCORE),
    Case("ofd", ((3, 2, 4, 4), (3, 4, 2, 2), (3, 3, 1, 1)), ((3, 3, 4, 4), (3, 2, 4, 4), (3, 2, 1, 1)), ofd_oracle),
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
    Case("catkd", (2, 3, 4, 4), (2, 3, 5, 2), catkd_oracle),
    Case("simkd", (2, 3, 4, 4), (2, 3, 2, 2), simkd_oracle),
    Case("norm", (2, 6, 4, 4), (2, 2, 2, 2), norm_oracle, (("segments", 3),)),
    Case("vid", (2, 3, 4, 4), (2, 2, 2, 2), vid_oracle),
    Case("ickd", (3, 2, 3, 3), (3, 3, 2, 2), ickd_oracle),
    Case("cc", (4, 3), (4, 5), cc_oracle),
    Case("crd", (3, 3), (3, 5), crd_oracle),
    Case(
        "reviewkd",
        ((3, 2, 4, 4), (3, 4, 2, 2), (3, 3, 1, 1)),
        ((3, 3, 4, 4), (3, 2, 4, 4), (3, 2, 1, 1)),
        reviewkd_oracle,
    ),
    Case(
        "semckd",
        ((3, 2, 4, 4), (3, 4, 2, 2)),
        ((3, 3, 4, 4), (3, 2, 2, 2), (3, 2, 2, 1)),
        semckd_oracle,
        (("batch_size", 3),),
    ),
]
LARGER = [
    # The cheaper side of both correlations: many more locations than channels, and the reverse.
    *correlations("spatial_correlation", spatial_oracle, [((3, 3, 6, 6), (3, 4, 6, 6))]),
    *correlations("channel_correlation", channel_oracle, [((3, 30, 2, 2), (3, 30, 3, 3))]),
    *logit_correlations((3, 20)),
    *logit_correlations((20, 2)),
    Case("logit_correlation", (1, 6), (1, 6), logit_oracle),
    Case("kd", (8, 20), (8, 20), kd_oracle, (("temperature", 1.0),)),
    Case("dkd", (8, 20), (8, 20), dkd_oracle, (("alpha", 2.0), ("beta", 0.5), ("temperature", 1.0))),
    Case("dist", (8, 20), (8, 20), dist_oracle, (("temperature", 2.0), ("beta", 3.0), ("gamma", 0.5))),
    Case("nkd", (8, 20), (8, 20), nkd_oracle, (("gamma", 3.5), ("temperature", 3.0))),
    Case("wttm", (8, 20), (8, 20), wttm_oracle, (("temperature", 10.0),)),
    Case("ldrld", (8, 20), (8, 20), ldrld_oracle, (("alpha", 2.0), ("beta", 0.5), ("temperature", 1.0))),
    *(Case("ldrld", (4, 7), (4, 7), ldrld_oracle, (("top", top),)) for top in (2, 6, 7, 20)),
    Case("ldrld", (1, 2), (1, 2), ldrld_oracle),
    Case("kd", (8, 20), (8, 20), standardised(kd_oracle), (("norm", "zscore"), ("temperature", 2.0))),
    Case("mlld", (8, 20), (8, 20), mlld_oracle, (("instance", 1.5), ("batch", 0.5), ("classes", 0.7))),
    Case("mlld", (2, 30), (2, 30), mlld_oracle, (("instance", 0.0),)),
    Case("mlld", (40, 3), (40, 3), mlld_oracle, (("instance", 0.0),)),
    Case("ctkd", (1, 7), (1, 7), ctkd_oracle, (("start", 2.0), ("span", 0.0))),
    Case("ofd", ((4, 3, 8, 2), (4, 5, 1, 1)), ((4, 8, 4, 4), (4, 9, 1, 1)), ofd_oracle),
    Case("hint", (8, 20), (8, 20), hint_oracle),
    Case("at", (4, 7, 3, 3), (4, 5, 6, 9), at_oracle),
    Case("sp", (7, 20), (7, 5), sp_oracle),
    Case("rkd", (7, 20), (7, 5), rkd_oracle, (("distance_weight", 3.0), ("angle_weight", 7.0))),
    Case("pkt", (7, 20), (7, 5), pkt_oracle),
    Case("nst", (3, 4, 5, 5), (3, 3, 5, 5), nst_oracle),
    Case("nst", (3, 9, 2, 2), (3, 12, 2, 2), nst_oracle),
    Case("fsp", ((3, 4, 3, 3), (3, 2, 6, 6)), ((3, 4, 6, 6), (3, 2, 2, 2)), fsp_oracle),
    Case("simkd", (3, 5, 2, 6), (3, 5, 4, 3), simkd_oracle),
    Case("norm", (3, 40, 3, 3), (3, 5, 3, 3), norm_oracle),
    Case("norm", (3, 5, 2, 6), (3, 5, 4, 3), norm_oracle, (("segments", 1),)),
    Case("catkd", (3, 7, 1, 1), (3, 7, 5, 3), catkd_oracle, (("size", 3),)),
    Case("vid", (3, 4, 2, 2), (3, 5, 4, 4), vid_oracle),
    Case("ickd", (3, 5, 4, 4), (3, 5, 4, 4), ickd_oracle),
    Case("cc", (9, 12), (9, 7), cc_oracle),
    Case("crd", (7, 20), (7, 5), crd_oracle, (("negatives", 3), ("temperature", 0.5))),
    Case("crd", (1, 4), (1, 4), crd_oracle),
    Case("reviewkd", ((2, 5, 8, 8), (2, 7, 1, 1)), ((2, 3, 8, 8), (2, 9, 1, 1)), reviewkd_oracle),
    Case(
        "reviewkd",
        ((4, 3, 8, 2), (4, 6, 4, 4), (4, 6, 1, 1)),
        ((4, 8, 4, 4), (4, 9, 2, 4), (4, 9, 1, 1)),
        reviewkd_oracle,
    ),
    Case("semckd", ((5, 3, 4, 4),), ((5, 4, 8, 4), (5, 6, 2, 2)), semckd_oracle, (("batch_size", 8),)),
    Case("semckd", ((2, 3, 2, 2), (2, 3, 1, 1)), ((2, 4, 1, 1),), semckd_oracle, (("batch_size", 9),)),
    Case("reviewkd", ((2, 3, 1, 1),), ((2, 4, 1, 1),), reviewkd_oracle),
]

small_cases = pytest.mark.parametrize("case", SMALL, ids=str)


def numpy_inputs(inputs: list[Any]) -> list[Any]:
    return [tuple(map(array, x)) if isinstance(x, tuple) else x.numpy().astype(float) for x in inputs[:2]] + [
        x.numpy() for x in inputs[2:]
    ]


def leaves(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def with_leaves(inputs: list[Any], student: tuple[Tensor, ...]) -> list[Any]:
    return [student if isinstance(inputs[0], tuple) else student[0], *inputs[1:]]


def maps(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def loss_of(name: str) -> Any:
    """The function or module class of a row of the table."""
    return attrgetter(LOSSES[name].function)(losses)
