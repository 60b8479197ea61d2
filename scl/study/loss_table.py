"""The built-in transfer losses: one row a loss.

A new built-in loss is a function in `scl/losses/` and a row here. The table is in `scl.study`, and names functions
instead of importing them, because a study is checked before torch is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What a loss can compare: guided maps one by one, pairs of neighbouring maps, all maps and the embedding as one more
# map at once, the student's maps with all of the teacher's, the pooled last map, class activation maps, or logits.
COMPARES = ("maps", "pairs", "levels", "crossed", "embedding", "cams", "logits")
OF_MAPS = ("maps", "pairs", "levels", "crossed")
OF_CLASSES = ("cams", "logits")  # the last layer gives them, whichever layers are guided
NORMS = ("pearson", "cosine", "gram", "rows")
POOLS = ("sample", "batch")
RELATED = ("classes", "images")  # of correlations of logits
LOGIT_NORMS = ("none", "zscore")


@dataclass(frozen=True)
class LossRow:
    """What the objective and the checks of a study need to know about a loss.

    function: its module in `scl.losses` and its name there. compares: one of COMPARES. options: keyword options with
    their defaults. words: the valid values of options that are words. layers: the guided layers it compares by
    default (None: all). learned: it is an nn.Module, built from the channels of student and teacher, that trains with
    the student. same_channels: it needs equal channels, so a connector maps the student's if they differ. same_size:
    it needs equal height and width, so the larger map is average-pooled. correlates: it needs at least two channels
    and two locations. needs_target: it also takes the labels (B,). remembers: it keeps something for each training
    image: it is also built from the labels of these (N,), and takes the numbers of the batch's images (B,).
    of_batches: it is also built from the number of images of a batch. has_epochs: its `start_epoch` is told
    the epoch of its stage (from 1). reuses: its student has a projector, and the teacher's classifier, which does not
    train. expands: it compares the map into which a transform of the student expands its deepest one, to `segments`
    times the teacher's channels.
    """

    function: str
    compares: str
    options: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    layers: tuple[int, ...] | None = None
    learned: bool = False
    same_channels: bool = False
    same_size: bool = False
    correlates: bool = False
    needs_target: bool = False
    remembers: bool = False
    of_batches: bool = False
    has_epochs: bool = False
    reuses: bool = False
    expands: bool = False


_CORRELATION: dict[str, Any] = {
    "options": {"norm": "pearson", "pool": "sample"},
    "words": {"norm": NORMS, "pool": POOLS},
    "correlates": True,
}


def _of_logits(function: str, needs_target: bool = False, **options: float) -> LossRow:
    every = {**options, "norm": "none"}
    return LossRow(function, "logits", every, {"norm": LOGIT_NORMS}, needs_target=needs_target)


LOSSES: dict[str, LossRow] = {
    "channel": LossRow("correlation.channel_correlation", "maps", same_channels=True, **_CORRELATION),
    "spatial": LossRow("correlation.spatial_correlation", "maps", **_CORRELATION),
    "logit": LossRow(
        "correlation.logit_correlation",
        "logits",
        {"norm": "rows", "between": "classes"},
        {"norm": NORMS, "between": RELATED},
    ),
    "kd": _of_logits("logits.kd", temperature=4.0),
    "hint": LossRow("maps.hint", "maps", layers=(1,), same_channels=True, same_size=True),
    "at": LossRow("maps.at", "maps", same_size=True),
    "sp": LossRow("relations.sp", "maps", layers=(-1,)),
    "cc": LossRow("relations.cc", "embedding", learned=True),
    "crd": LossRow(
        "contrast.crd",
        "embedding",
        {"negatives": 16384, "temperature": 0.07, "momentum": 0.5},
        learned=True,
        remembers=True,
    ),
    "rkd": LossRow("relations.rkd", "embedding", {"distance_weight": 25.0, "angle_weight": 50.0}),
    "pkt": LossRow("relations.pkt", "embedding"),
    "vid": LossRow("maps.vid", "maps", learned=True, same_size=True),
    "nst": LossRow("maps.nst", "maps", same_size=True),
    "fsp": LossRow("maps.fsp", "pairs", same_channels=True),
    "ickd": LossRow("maps.ickd", "maps", layers=(-1,), learned=True),
    "catkd": LossRow("maps.catkd", "cams", {"size": 2}),
    "simkd": LossRow("maps.simkd", "maps", layers=(-1,), same_size=True, reuses=True),
    "norm": LossRow("maps.norm", "maps", {"segments": 8}, layers=(-1,), same_size=True, expands=True),
    "reviewkd": LossRow("review.reviewkd", "levels", learned=True),
    "semckd": LossRow("calibration.semckd", "crossed", learned=True, of_batches=True),
    "ofd": LossRow("overhaul.ofd", "levels", learned=True),
    "dkd": _of_logits("logits.dkd", needs_target=True, alpha=1.0, beta=8.0, temperature=4.0),
    "dist": _of_logits("logits.dist", temperature=1.0, beta=1.0, gamma=1.0),
    "nkd": _of_logits("logits.nkd", needs_target=True, gamma=1.5, temperature=1.0),
    "wttm": _of_logits("logits.wttm", temperature=4.0),
    "mlld": _of_logits("logits.mlld", instance=1.0, batch=1.0, classes=1.0),
    "ldrld": _of_logits("ranks.ldrld", alpha=10.5, beta=7.0, top=7, temperature=4.0),
    "ctkd": LossRow(
        "temperature.ctkd",
        "logits",
        {"start": 1.0, "span": 20.0, "rise": 10.0, "norm": "none"},
        {"norm": LOGIT_NORMS},
        learned=True,
        has_epochs=True,
    ),
}
