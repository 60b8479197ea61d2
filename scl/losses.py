"""Transfer losses: what a student is asked to share with its teacher, one guided layer at a time.

Every loss is called `loss(student, teacher, …)` and returns a scalar that falls to its least when the two
agree in its sense. Feature maps are (B, C, H, W), embeddings (B, D), logits (B, K); N = H·W is the number of
locations. `vid`, `ickd` and `cc` have learned parts: modules built from the two channel counts,
`(student_channels, teacher_channels)`, and then called the same way. A sum over layers, weights and
connectors are the caller's.

What holds for all of them:

* They run in float32 with autocast off whatever they are given (float64 stays float64): half precision
  underflows in the squares, and bfloat16 resolves 2⁻⁸ near 1.
* Nothing waits for the device, so that a step can be captured in a CUDA graph: no `.item()`, no branch on a
  value, no indexing by a mask.
* Values and gradients are finite for dead channels, constant maps and all-zero inputs: what has no direction
  is a zero row with zero gradient, where public code divides by an epsilon and sends back gradients of up to
  1e12.
* Scaling follows the public code under which the published weights were found, also where a paper's formula
  sums and that code averages; each docstring names the difference.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "at",
    "cc",
    "channel_correlation",
    "dist",
    "dkd",
    "fsp",
    "hint",
    "ickd",
    "kd",
    "nst",
    "pkt",
    "rkd",
    "sp",
    "spatial_correlation",
    "vid",
]

NORMS = ("pearson", "cosine", "gram")
POOLS = ("sample", "batch")

P = ParamSpec("P")
Pair = tuple[Tensor, Tensor]


# ---- shared parts ------------------------------------------------------------------------------------------


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, tuple | list) else []


def _raised(value: Any) -> Any:
    """Floating-point tensors below float64 as float32, also inside pairs; anything else as it is."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() and value.dtype != torch.float64 else value
    return tuple(map(_raised, value)) if isinstance(value, tuple | list) else value


def _full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """`loss` in float32 with autocast off."""

    @functools.wraps(loss)
    def run(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = _leaves([*args, *kwargs.values()])[0].device.type
        with torch.autocast(device, enabled=False):
            return loss(*_raised(args), **{name: _raised(value) for name, value in kwargs.items()})

    return run


def _need(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _need_maps(student: Tensor, teacher: Tensor) -> None:
    for who, x in (("student", student), ("teacher", teacher)):
        _need(x.ndim == 4, f"feature maps are (B, C, H, W), the {who}'s is {tuple(x.shape)}")
    _need_same_batch(student, teacher)


def _need_same_batch(student: Tensor, teacher: Tensor, least: int = 1) -> None:
    s, t = len(student), len(teacher)
    _need(s == t, f"student and teacher saw different batches: {s} and {t} images")
    _need(s >= least, f"relations between images need a batch of at least {least}, got {s}")


def _need_same_shape(student: Tensor, teacher: Tensor) -> None:
    s, t = tuple(student.shape), tuple(teacher.shape)
    _need(s == t, f"student {s} and teacher {t} must have one shape; use a connector, or pool")


def _need_same_channels(student: Tensor, teacher: Tensor) -> None:
    s, t = student.shape[1], teacher.shape[1]
    _need(s == t, f"student has {s} channels and teacher {t}: a connector on the student is needed")


def _to_smaller(a: Tensor, b: Tensor) -> Pair:
    """Both maps average-pooled to the smaller height and width of the two."""
    if a.shape[2:] == b.shape[2:]:
        return a, b
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    return F.adaptive_avg_pool2d(a, size), F.adaptive_avg_pool2d(b, size)


def _unit(x: Tensor) -> Tensor:
    """Rows (last dimension) at unit length; rows of length 1e-12 or less are zero and pass no gradient."""
    energy = x.square().sum(-1, keepdim=True)
    alive = energy > 1e-24
    return torch.where(alive, x * torch.where(alive, energy, 1).rsqrt(), 0)


def _living(x: Tensor, centre: bool) -> Pair:
    """Rows (last dimension), centred if asked for, and which of them are alive (…, 1).

    A row whose energy after centring is no more than rounding is dead: a zero that passes no gradient.
    """
    raw = x.square().sum(-1, keepdim=True)
    if centre:
        x = x - x.mean(-1, keepdim=True)
    alive = x.square().sum(-1, keepdim=True) > 1e-10 * raw + 1e-12
    return torch.where(alive, x, 0), alive


def _gram_gap(x: Tensor, y: Tensor, diagonal: bool = True) -> Tensor:
    """Σ (XXᵀ − YYᵀ)² over all matrices of a stack, X (G, n, p), Y (G, n, q), with or without the diagonals.

    With far more rows than columns it is taken on the cheaper side, ‖XᵀX‖² + ‖YᵀY‖² − 2‖XᵀY‖², which never
    holds an n × n matrix. That difference loses every digit in float32 (and far more in TF32) when X is close
    to Y or to a permutation of it, so it is formed in float64: its rounding then lies below that of the rows.
    """
    rows = x.shape[1]
    if rows <= 3 * max(x.shape[2], y.shape[2]):
        gap = x @ x.mT - y @ y.mT
        if not diagonal:
            gap = gap.masked_fill(torch.eye(rows, dtype=torch.bool, device=gap.device), 0)
        return gap.square().sum()
    u, v = x.double(), y.double()
    total = (u.mT @ u).square().sum() + (v.mT @ v).square().sum() - 2 * (u.mT @ v).square().sum()
    if not diagonal:
        total = total - (u.square().sum(-1) - v.square().sum(-1)).square().sum()
    return total.clamp(min=0).to(x.dtype)


# ---- the two correlations ----------------------------------------------------------------------------------


def _correlation(student: Tensor, teacher: Tensor, norm: str) -> Tensor:
    """Mean squared difference of the correlations between rows: (G, n, p) and (G, n, q)."""
    if norm == "gram":
        s, t = (x / math.sqrt(x.shape[-1]) for x in (student, teacher))
        return _gram_gap(s, t) / (len(s) * s.shape[1] ** 2)
    s, s_alive = _living(student, centre=norm == "pearson")
    t, t_alive = _living(teacher, centre=norm == "pearson")
    alive = (s_alive | t_alive).sum((1, 2))
    pairs = (alive * (alive - 1)).sum().clamp(min=1)
    return _gram_gap(_unit(s), _unit(t), diagonal=False) / pairs


def _need_correlations(student: Tensor, teacher: Tensor, norm: str, pool: str) -> None:
    _need(norm in NORMS, f"unknown norm {norm!r}; valid: {', '.join(NORMS)}")
    _need(pool in POOLS, f"unknown pool {pool!r}; valid: {', '.join(POOLS)}")
    for who, x in (("student", student), ("teacher", teacher)):
        locations = x.shape[2] * x.shape[3]
        _need(x.shape[1] > 1, f"the {who}'s map has one channel (C = 1), which has no correlations")
        _need(locations > 1, f"the {who}'s map has one location (N = 1), which has no correlations")


@_full_precision
def channel_correlation(student: Tensor, teacher: Tensor, norm: str = "pearson", pool: str = "sample") -> Tensor:
    """How channels go together over the locations of a map: mean over i ≠ j of (R_s − R_t)², R of size C × C.

    This project's definition: of the paper (Wang et al., J. Inf. Sci. Eng. 36(6), 2020) only the abstract is
    public, which names guidance by correlations between channels and gives no formula.

    Args:
        student, teacher: feature maps (B, C, H, W) of equal B and C; their sizes may differ.
        norm: `pearson` centres each channel and scales it to unit norm, R = X̂X̂ᵀ; `cosine` does not centre;
            `gram` does neither, divides by the number of positions, and averages over all i, j.
        pool: `sample` correlates over the N locations of each image and averages over the batch; `batch`
            correlates over all B·N positions at once.

    Dead channels (centred energy ≤ 1e-10 × raw energy + 1e-12): a zero row of R, with zero gradient; pairs
    with a channel dead in both networks leave the mean, which is one mean over the remaining pairs of all
    images.

    With `pearson` and `sample`, unchanged by any permutation of the locations of either map and by any
    positive rescaling and shift of a channel.

    Raises:
        ValueError: unequal C (a connector is needed) or B, one channel, one location, an unknown option.
    """
    _need_maps(student, teacher)
    _need_correlations(student, teacher, norm, pool)
    _need_same_channels(student, teacher)
    s, t = student.flatten(2), teacher.flatten(2)
    if pool == "batch":
        s, t = (x.transpose(0, 1).flatten(1)[None] for x in (s, t))
    return _correlation(s, t, norm)


@_full_precision
def spatial_correlation(student: Tensor, teacher: Tensor, norm: str = "pearson", pool: str = "sample") -> Tensor:
    """How locations go together over the channels of a map: mean over i ≠ j of (R_s − R_t)², R of size N × N.

    This project's definition: of the paper (Wang et al., J. Inf. Sci. Eng. 36(6), 2020) only the abstract is
    public, which names guidance by correlations between spatial locations and gives no formula.

    Args:
        student, teacher: feature maps (B, C, H, W) of equal B; their channels may differ, and the larger map
            is average-pooled to the height and width of the smaller.
        norm: `pearson` centres each location over its channels and scales it to unit norm, R = X̂X̂ᵀ;
            `cosine` does not centre; `gram` does neither, divides by the number of channels, and averages
            over all i, j.
        pool: `sample` correlates over the C channels of each image and averages over the batch; `batch`
            correlates over all B·C at once, also where B·C differs.

    Dead locations are treated as dead channels are in `channel_correlation`.

    With `pearson` and `sample` and equal sizes, unchanged by any permutation of the channels of either map
    and by any positive rescaling and shift of a location.

    Raises:
        ValueError: unequal B, one channel, one location (after pooling), an unknown option.
    """
    _need_maps(student, teacher)
    student, teacher = _to_smaller(student, teacher)
    _need_correlations(student, teacher, norm, pool)
    s, t = student.flatten(2).mT, teacher.flatten(2).mT
    if pool == "batch":
        s, t = (x.transpose(0, 1).flatten(1)[None] for x in (s, t))
    return _correlation(s, t, norm)


# ---- of logits ---------------------------------------------------------------------------------------------


def _softened(logits: Tensor, temperature: float) -> Tensor:
    """Log-probabilities at a temperature."""
    _need(temperature > 0, f"temperature must be above 0, got {temperature}")
    return F.log_softmax(logits / temperature, dim=1)


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher ‖ student) of log-probabilities (B, K), mean over the batch."""
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _need_logits(student: Tensor, teacher: Tensor) -> None:
    _need(student.ndim == 2, f"logits are (B, K), the student's are {tuple(student.shape)}")
    _need_same_shape(student, teacher)


@_full_precision
def kd(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Soft targets (Hinton et al., 2015, Eq. 1 and section 2): T² · KL(p_t ‖ p_s), p = softmax(z / T).

    Logits (B, K); sum over classes, mean over the batch, as in RepDistiller. Code that calls `kl_div` with
    `reduction="mean"` also divides by K. The paper minimises the cross-entropy, which has the same gradient.

    Raises:
        ValueError: unequal shapes, a temperature that is not positive.
    """
    _need_logits(student, teacher)
    return temperature**2 * _kl(_softened(student, temperature), _softened(teacher, temperature))


@_full_precision
def dkd(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """Decoupled distillation (Zhao et al., CVPR 2022, Eq. 7): T² · (α · TCKD + β · NCKD).

    Mean over the batch. TCKD is the KL of (target class, all others), NCKD that among the other classes,
    renormalised; plain KD weighs NCKD by 1 − p_t(target) instead of β. Logits (B, K), target (B,) of class
    numbers.

    mdistiller, which this follows, removes the target by subtracting 1000 from its logit and takes the log of
    probabilities that may underflow to 0; here everything stays in logarithms. Its warm-up is the caller's.

    Raises:
        ValueError: unequal shapes, a target that is not (B,), one class, a temperature that is not positive.
    """
    _need_logits(student, teacher)
    _need(target.shape == student.shape[:1], f"target must be (B,), got {tuple(target.shape)}")
    classes = student.shape[1]
    _need(classes > 1, "one class has no others to tell it from")
    is_target = torch.arange(classes, device=target.device) == target[:, None]

    def decoupled(logits: Tensor) -> Pair:
        log_p = _softened(logits, temperature)
        log_others = log_p.masked_fill(is_target, -math.inf)
        log_rest = log_others.logsumexp(1, keepdim=True)
        log_target = log_p.gather(1, target[:, None])
        # A 0 for the target on both sides adds exp(0) · (0 − 0) to the divergence among the others.
        return torch.cat([log_target, log_rest], 1), (log_p - log_rest).masked_fill(is_target, 0)

    (s_target, s_others), (t_target, t_others) = decoupled(student), decoupled(teacher)
    return temperature**2 * (alpha * _kl(s_target, t_target) + beta * _kl(s_others, t_others))


@_full_precision
def dist(student: Tensor, teacher: Tensor, temperature: float = 1.0, beta: float = 1.0, gamma: float = 1.0) -> Tensor:
    """DIST (Huang et al., NeurIPS 2022): T² · (β · inter + γ · intra), each 1 − mean Pearson correlation.

    inter: of the probabilities of one image over the classes; intra: of one class over the batch. Logits
    (B, K).

    As in the authors' code the correlation is a·b / (‖a‖‖b‖ + 1e-8), which damps classes that nobody
    predicts, and T² multiplies (it is 1 at the default). A constant row or column (so all columns at B = 1)
    correlates 0, hence adds 1: the loss of equal logits is near 0, never exactly.

    Raises:
        ValueError: unequal shapes, a temperature that is not positive.
    """
    _need_logits(student, teacher)
    s, t = _softened(student, temperature).exp(), _softened(teacher, temperature).exp()
    inter, intra = 1 - _pearson(s, t).mean(), 1 - _pearson(s.mT, t.mT).mean()
    return temperature**2 * (beta * inter + gamma * intra)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of each row of a with that row of b."""
    (a, _), (b, _) = _living(a, centre=True), _living(b, centre=True)
    lengths = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    correlation: Tensor = (a * b).sum(-1) / (lengths + 1e-8)
    return correlation


# ---- of one map, location by location or channel by channel ------------------------------------------------


@_full_precision
def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """FitNets hints (Romero et al., ICLR 2015, Eq. 3): mean squared difference.

    Tensors of one shape. The paper halves and sums; RepDistiller, which this follows, averages over
    everything. The regressor on the student is the caller's (a 1×1 convolution with batch norm where channels
    differ).

    Raises:
        ValueError: unequal shapes.
    """
    _need_same_shape(student, teacher)
    return F.mse_loss(student, teacher)


@_full_precision
def at(student: Tensor, teacher: Tensor) -> Tensor:
    """Attention transfer (Zagoruyko & Komodakis, ICLR 2017, Eq. 2) on squared activations.

    Attention map: mean over channels of x², flattened and L2-normalised. Maps (B, C, H, W) of any channels;
    the larger is average-pooled. Mean over locations and batch of the squared difference, as in the authors'
    code and RepDistiller; the paper has the norm of the difference, not squared and not averaged over
    locations.

    Raises:
        ValueError: not maps, unequal B.
    """
    _need_maps(student, teacher)
    s, t = (_unit(x.square().mean(1).flatten(1)) for x in _to_smaller(student, teacher))
    return F.mse_loss(s, t)


@_full_precision
def nst(student: Tensor, teacher: Tensor) -> Tensor:
    """Neuron selectivity transfer (Huang & Wang, 2017): MMD² between channels, kernel (aᵀb)².

    Mean over the batch. Channels are L2-normalised over locations. Maps (B, C, H, W) of any channels; the
    larger is average-pooled. The means of the kernel over C_s × C_s, C_t × C_t and C_s × C_t pairs, the
    teacher's constant one included, as in RepDistiller (some code leaves it out, and then the loss is
    negative).

    Raises:
        ValueError: not maps, unequal B.
    """
    _need_maps(student, teacher)
    # The three means are ‖FᵀF/C_s − GᵀG/C_t‖², a difference of Gram matrices between locations.
    s, t = (_unit(x.flatten(2)).mT / math.sqrt(x.shape[1]) for x in _to_smaller(student, teacher))
    return _gram_gap(s, t) / len(s)


class vid(nn.Module):
    """Variational information distillation (Ahn et al., CVPR 2019) between feature maps.

    A Gaussian of the teacher's map given the student's: mean over everything of
    ½ ((t − μ(s))² / σ² + log σ²), without the constant. μ: three 1×1 convolutions without bias and two ReLUs,
    C_s → C_t → C_t → C_t. σ²_c = softplus(α_c) + 1e-5, one a channel, 5 at first. All as in RepDistiller; the
    paper sums over locations. May be negative.

    Called with maps (B, C_s, H, W) and (B, C_t, H, W); the larger is average-pooled. The module trains with
    the student.

    Raises:
        ValueError: not maps, unequal B.
    """

    least = 1e-5

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        s, t = student_channels, teacher_channels
        self.regressor = nn.Sequential(
            nn.Conv2d(s, t, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(t, t, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(t, t, 1, bias=False),
        )
        # softplus of this, with `least`, is a variance of 5.
        self.alpha = nn.Parameter(torch.full((t, 1, 1), math.log(math.expm1(5.0 - self.least))))

    @_full_precision
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        _need_maps(student, teacher)
        student, teacher = _to_smaller(student, teacher)
        variance = F.softplus(self.alpha) + self.least
        error: Tensor = self.regressor(student) - teacher
        return (error.square() / variance + variance.log()).mean() / 2


@_full_precision
def fsp(student: Pair, teacher: Pair) -> Tensor:
    """Flow of solution procedure (Yim et al., CVPR 2017, Eq. 1 and 2): from one map to the next.

    Of each network a pair of maps (bottom, top); the larger of a pair is average-pooled to the other. Gram
    matrix (C_bottom × C_top) over locations, divided by N. Mean over its entries and the batch of the squared
    difference, as in RepDistiller; the paper sums over the entries.

    Raises:
        ValueError: not maps, unequal B or channels (a connector is needed).
    """

    def flow(bottom: Tensor, top: Tensor) -> Tensor:
        b, t = (x.flatten(2) for x in _to_smaller(bottom, top))
        return b @ t.mT / b.shape[2]

    for s, t in zip(student, teacher, strict=True):
        _need_maps(s, t)
        _need_same_channels(s, t)
    return F.mse_loss(flow(*student), flow(*teacher))


class ickd(nn.Module):
    """Inter-channel correlation (Liu et al., ICCV 2021), ICKD-C: Gram matrices between channels.

    G = FFᵀ (C_t × C_t) per image, each row L2-normalised; sum of squared differences divided by B·C_t, as in
    the authors' code; the paper neither normalises rows nor divides by C alone. The student's map first goes
    through a 1×1 convolution and batch norm, C_s → C_t, also where the widths are equal.

    Called with maps (B, C_s, H, W) and (B, C_t, H, W); their sizes may differ. The module trains with the
    student. Its companion KL term is `kd`.

    Raises:
        ValueError: not maps, unequal B.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1, bias=False), nn.BatchNorm2d(teacher_channels)
        )

    @_full_precision
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        _need_maps(student, teacher)
        s, t = self.embed(student).flatten(2), teacher.flatten(2)
        gap = _unit(s @ s.mT) - _unit(t @ t.mT)
        return gap.square().sum() / (len(gap) * gap.shape[1])


# ---- of relations between images ---------------------------------------------------------------------------


@_full_precision
def sp(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity preserving (Tung & Mori, ICCV 2019): which images of a batch activate a layer alike.

    G = QQᵀ (B × B) of the flattened maps, each row L2-normalised; ‖G_s − G_t‖² / B². Maps or embeddings of
    any widths and sizes. Paper and RepDistiller agree.

    Raises:
        ValueError: unequal B.
    """
    _need_same_batch(student, teacher)
    s, t = (_unit(x @ x.mT) for x in (student.flatten(1), teacher.flatten(1)))
    return F.mse_loss(s, t)


@_full_precision
def rkd(student: Tensor, teacher: Tensor, distance_weight: float = 25.0, angle_weight: float = 50.0) -> Tensor:
    """Relational distillation (Park et al., CVPR 2019): distances of pairs and angles of triples of images.

    Distances are divided by their mean over the pairs i ≠ j; angles are cosines at each image i between the
    directions to j and k. Smooth-L1 of each, averaged over all B² and B³ entries, those that repeat an image
    included, as in the authors' code and RepDistiller; the paper sums. Embeddings (B, D) of any widths.

    Raises:
        ValueError: unequal B, a batch of one.
    """
    _need_same_batch(student, teacher, least=2)
    s_distance, s_angle = _relations(student.flatten(1))
    t_distance, t_angle = _relations(teacher.flatten(1))
    distance = F.smooth_l1_loss(s_distance, t_distance)
    return distance_weight * distance + angle_weight * F.smooth_l1_loss(s_angle, t_angle)


def _relations(x: Tensor) -> Pair:
    """Distances in units of their mean (B, B), and cosines of angles at each image (B, B, B)."""
    batch = len(x)
    difference = x[None] - x[:, None]
    # The least distance, 1e-6, keeps the root's gradient and the division below finite where images coincide.
    distance = difference.square().sum(-1).clamp(min=1e-12).sqrt()
    distance = distance.masked_fill(torch.eye(batch, dtype=torch.bool, device=x.device), 0)
    direction = _unit(difference)
    return distance / (distance.sum() / (batch * (batch - 1))), direction @ direction.mT


@_full_precision
def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Probabilistic knowledge transfer (Passalis & Tefas, ECCV 2018): which images are neighbours.

    Similarity (cos + 1) / 2 of all pairs, each row divided by its sum; mean over B² of
    p_t · log((p_t + 1e-7) / (p_s + 1e-7)). The diagonal is included and the divergence is averaged, as in the
    authors' code and RepDistiller; the paper leaves out an image's similarity to itself and sums. Embeddings
    (B, D) of any widths.

    Raises:
        ValueError: unequal B, a batch of one.
    """
    _need_same_batch(student, teacher, least=2)
    s, t = (_neighbours(x.flatten(1)) for x in (student, teacher))
    return (t * ((t + 1e-7) / (s + 1e-7)).log()).mean()


def _neighbours(x: Tensor) -> Tensor:
    """The probability of each image being the neighbour of each (B, B), rows summing to 1."""
    unit = _unit(x)
    similarity = (unit @ unit.mT + 1) / 2
    return similarity / similarity.sum(1, keepdim=True)


class cc(nn.Module):
    """Correlation congruence (Peng et al., ICCV 2019) in the form that RepDistiller had from its authors.

    Both embeddings are mapped linearly to 128 numbers; with Δ_i = |s_i − t_i|, the mean over neighbours i,
    i+1 of the batch of Δ_i · Δ_{i+1}. The paper compares B × B matrices of a Gaussian kernel instead.

    Called with embeddings (B, D_s) and (B, D_t). Both maps train with the student.

    Raises:
        ValueError: unequal B, a batch of one.
    """

    width = 128

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.embed_student = nn.Linear(student_channels, self.width)
        self.embed_teacher = nn.Linear(teacher_channels, self.width)

    @_full_precision
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        _need_same_batch(student, teacher, least=2)
        s, t = self.embed_student(student.flatten(1)), self.embed_teacher(teacher.flatten(1))
        delta: Tensor = (s - t).abs()
        return (delta[:-1] * delta[1:]).sum(1).mean()
