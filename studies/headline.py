"""Can a 5-layer student beat its 11-layer teacher on CIFAR-100?

    uv run studies/headline.py                                                  # minutes: does everything run?
    uv run studies/headline.py --scale laptop --data path/to/cifar100 --label fine_label
    python studies/headline.py --scale full --address auto --data cifar100      # on a cluster
    uv run studies/headline_search.py --scale laptop                            # chooses WEIGHTS

One comparison is declared before anything trains: the full method (both correlations, KD and self-taught neurons) minus
its teacher. The student is a plain5 with twice the teacher's width factor; it has fewer parameters and
multiply-accumulates than the teacher. Each seed has its own teacher, and the difference is paired by seed. The other
arms show where a difference comes from: all combinations of the parts, controls for the extra parameters, published
losses, label smoothing, and the teacher's network trained by other recipes and distilled from an equal network.

The final runs train on all images that the scale allows. Their weights were chosen before, on validation images and at
another seed (`headline_search.py`). The accuracy after the last epoch counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scl import Config, Scale, Study, Term
from scl.cli import main
from scl.study.designs import Design

FULL = "channel+spatial+kd+self-taught"
PRIMARY, OTHERS = 2, (1, 3)  # widths of students, as multiples of the teacher's width factor

# What each part of a method sets. Its weights are defaults, from `ablation.py`; WEIGHTS override them.
CORRELATIONS = {"none": (), "channel": ("channel",), "spatial": ("spatial",), "channel+spatial": ("channel", "spatial")}
KD = {"kd": Term(0.9, options={"temperature": 4.0})}  # beside 0.1 × cross-entropy, as published


@dataclass(frozen=True)
class Size:
    """The size of a scale. The defaults are those of a narrow network.

    width: the teacher's width factor. k: self-taught neurons of each guided layer, if WEIGHTS have no other count.
    counts: those that a search tries; all keep the student smaller than its teacher. layers: guided layers that the
    correlations compare; shallow ones cost too much beside a narrow student's step.
    """

    epochs: int
    teacher_epochs: int
    width: float = 0.125
    k: int = 2
    counts: tuple[int, ...] = (1, 2)
    layers: tuple[int, ...] = (-2, -1)
    batch_size: int = 32
    lr: float = 0.1


SIZES = {
    "smoke": Size(epochs=3, teacher_epochs=4),
    # A narrow plain11 learns slowly: with one seed, 24, 40 and 48 epochs gave 31, 36 and 39 %.
    "laptop": Size(epochs=16, teacher_epochs=48),
    "full": Size(
        epochs=240,
        teacher_epochs=240,
        width=1.0,
        k=16,
        counts=(8, 16, 24),
        layers=(-3, -2, -1),
        batch_size=64,
        lr=0.05,
    ),
}

# Scale → method → the values that `headline_search.py` chose at this scale and the primary width; a method that is
# missing has the defaults. Students of other widths use the same values: they are not tuned and may be slightly worse.
WEIGHTS: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {},
    # The best of five trials a method. Default values mean that none of the other four trials was better.
    "laptop": {
        "self-taught": {"self_taught": 1},
        "kd": {"ce": 1.0, "weight.kd": 2.88, "kd.temperature": 4.0},
        "kd+self-taught": {"ce": 0.1, "weight.kd": 2.06, "kd.temperature": 4.0, "self_taught": 2},
        "channel": {"weight.channel": 0.3},
        "channel+self-taught": {"weight.channel": 0.3, "self_taught": 2},
        "channel+kd": {"ce": 0.1, "weight.kd": 2.47, "kd.temperature": 8.0, "weight.channel": 0.237},
        "channel+kd+self-taught": {
            "ce": 1.0,
            "weight.kd": 2.48,
            "kd.temperature": 8.0,
            "weight.channel": 0.044,
            "self_taught": 2,
        },
        "spatial": {"weight.spatial": 5.85},
        "spatial+self-taught": {"weight.spatial": 0.3, "self_taught": 2},
        "spatial+kd": {"ce": 0.1, "weight.kd": 0.9, "kd.temperature": 4.0, "weight.spatial": 0.3},
        "spatial+kd+self-taught": {
            "ce": 0.1,
            "weight.kd": 0.9,
            "kd.temperature": 4.0,
            "weight.spatial": 0.3,
            "self_taught": 2,
        },
        "channel+spatial": {"weight.channel": 0.0834, "weight.spatial": 0.838},
        "channel+spatial+self-taught": {"weight.channel": 0.874, "weight.spatial": 6.81, "self_taught": 1},
        "channel+spatial+kd": {
            "ce": 0.1,
            "weight.kd": 0.9,
            "kd.temperature": 4.0,
            "weight.channel": 0.3,
            "weight.spatial": 0.3,
        },
        FULL: {
            "ce": 0.1,
            "weight.kd": 0.9,
            "kd.temperature": 4.0,
            "weight.channel": 0.3,
            "weight.spatial": 0.3,
            "self_taught": 2,
        },
        "dkd": {"weight.dkd": 1.0, "dkd.beta": 8.0},
        "dist": {"weight.dist": 1.17},
        "label smoothing": {"label_smoothing": 0.1},
        "plain11 kd": {"ce": 0.1, "weight.kd": 0.9, "kd.temperature": 4.0},
    },
    "full": {},
}


def factorial() -> dict[str, dict[str, str]]:
    """Arm → its level of each factor: every combination of the method's three parts. The baseline has no part."""
    arms = {}
    for correlation in CORRELATIONS:
        for kd in ("off", "on"):
            for self_taught in ("off", "on"):
                parts = [correlation] * (correlation != "none") + ["kd"] * (kd == "on")
                parts += ["self-taught"] * (self_taught == "on")
                levels = {"correlation": correlation, "kd": kd, "self-taught": self_taught}
                arms["+".join(parts) or "baseline"] = levels
    return arms


def methods(size: Size) -> dict[str, dict[str, Any]]:
    """Method → what it changes in a student, with the default weights."""
    arms: dict[str, dict[str, Any]] = {}
    for name, at in factorial().items():
        losses = {loss: Term(0.3, layers=size.layers) for loss in CORRELATIONS[at["correlation"]]}
        losses |= KD if at["kd"] == "on" else {}
        arms[name] = {"losses": losses} if losses else {}
        arms[name] |= {"ce": 0.1} if at["kd"] == "on" else {}
        arms[name] |= {"self_taught": size.k} if at["self-taught"] == "on" else {}
    plain11 = {"model": "plain11", "width": size.width, "epochs": size.teacher_epochs}
    return arms | {
        # The published losses that are best on CIFAR-100 in their papers' tables, each beside cross-entropy.
        "dkd": {"losses": {"dkd": Term(1.0, warmup=max(1, size.epochs // 12), options={"beta": 8.0})}},
        "dist": {"losses": {"dist": 1.0}},
        "ickd": {"losses": {"ickd": 0.25}},
        "pkt": {"losses": {"pkt": 30.0}},
        "label smoothing": {"label_smoothing": 0.1},
        # What helps a student may also help its teacher.
        "plain11 kd": {**plain11, "losses": KD, "ce": 0.1},
        "plain11 label smoothing": {**plain11, "label_smoothing": 0.1},
    }


def tuned(scale: str) -> dict[str, dict[str, Any]]:
    """Method → what it changes, with the weights chosen for this scale."""
    chosen = WEIGHTS[scale]
    return {name: {**changes, **chosen.get(name, {})} for name, changes in methods(SIZES[scale]).items()}


def controls(full: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Do extra parameters explain the gain? The full method with all channels guided, and without extra channels.

    The third control, the same width with nothing guided, is the arm `self-taught`.
    """
    return {
        f"{FULL} all guided": {**full, "guided": "all"},
        f"{FULL} taken": {**full, "self_taught_from": "taken"},
    }


def after_a_look(scale: str) -> dict[str, dict[str, Any]]:
    """Arms added after a first look at `laptop`, so they are weaker evidence than the planned ones.

    Is the full method as good as KD with the weights that KD's search found? That search had three values to find, the
    full method's has six. And how many self-taught neurons suit it then?
    """
    of_kd = WEIGHTS[scale].get("kd")
    if not of_kd:
        return {}
    name, full = f"{FULL} weights of kd", {**tuned(scale)[FULL], **of_kd}
    return {name: full} | {f"{name} k={k}": {**full, "self_taught": k} for k in (0, 1, 4, 8)}


def teachers_recipes(size: Size) -> dict[str, dict[str, Any]]:
    """The teacher's network trained by other recipes, which shows whether the teacher was badly trained."""
    own = {"model": "plain11", "width": size.width, "epochs": size.teacher_epochs}
    shorter = (
        {} if size.epochs == size.teacher_epochs else {"plain11 as long as students": own | {"epochs": size.epochs}}
    )
    return shorter | {
        "plain11 twice as long": own | {"epochs": 2 * size.teacher_epochs},
        "plain11 half the lr": own | {"lr": size.lr / 2},
        "plain11 weight decay x2": own | {"weight_decay": 2 * BASE.weight_decay},
    }


def arms(scale: str) -> Design:
    """All arms of a scale. Other widths have some of the parts, and at scale `full` every combination."""
    size, by_name, levels = SIZES[scale], tuned(scale), factorial()
    everywhere = scale == "full"
    design = {**by_name, **controls(by_name[FULL]), **teachers_recipes(size), **after_a_look(scale)}
    at = {name: dict(level) | ({"width": f"x{PRIMARY}"} if everywhere else {}) for name, level in levels.items()}
    for multiple in OTHERS:
        for name in levels if everywhere else ("baseline", "kd", "channel+spatial", "self-taught", FULL):
            design[f"x{multiple} {name}"] = {**by_name[name], "width": multiple * size.width}
            if everywhere:
                at[f"x{multiple} {name}"] = {**levels[name], "width": f"x{multiple}"}
    return Design(design, "full factorial, controls and other widths", at, roles=roles(design))


def roles(names: Iterable[str]) -> dict[str, str]:
    """Arms that cannot win: controls of the extra parameters, and what needs no teacher or is the teacher's network."""
    found = {}
    for name in names:
        method = name.partition(" ")[2] if name.startswith("x") else name
        if method == "self-taught" or method in controls({}):
            found[name] = "control"
        elif method in ("baseline", "label smoothing") or method.startswith("plain11"):
            found[name] = "reference"
    return {name: role for name, role in found.items() if name != "baseline"}


# The arms that run at `smoke`, and those that do not run at `laptop`; `--arms` adds the rest.
CORE = ("baseline", "kd", "channel+spatial", "self-taught", FULL, "dkd", "plain11 kd", f"x1 {FULL}")
LATER = (
    *("ickd", "pkt", "plain11 label smoothing", "plain11 twice as long", "plain11 weight decay x2"),
    *("x1 channel+spatial", "x1 self-taught", "x3 kd", "x3 channel+spatial", "x3 self-taught"),
    *after_a_look("laptop"),
)

# One recipe for students and teachers: SGD with Nesterov momentum, one epoch of warm-up, a cosine to zero, crops and
# flips.
BASE = Config(model="plain5", weight_decay=5e-4, warmup_epochs=1)


def scale(name: str, **settings: Any) -> Scale:
    size = SIZES[name]
    return Scale(
        student={"width": PRIMARY * size.width, "epochs": size.epochs, "batch_size": size.batch_size, "lr": size.lr},
        teacher={"width": size.width, "epochs": size.teacher_epochs, "batch_size": size.batch_size, "lr": size.lr},
        arms=arms(name),
        data="cifar100",
        val=0.0,
        **settings,
    )


SCALES = {
    "smoke": scale("smoke", limit=2_000, seeds=2, without=[arm for arm in arms("smoke") if arm not in CORE]),
    "laptop": scale("laptop", limit=10_000, seeds=3, without=LATER),
    "full": scale("full", seeds=5),
}
STUDY = Study(
    name="headline",
    question="Can a 5-layer student beat its 11-layer teacher on CIFAR-100?",
    base=BASE.replace(**SCALES["full"].student),
    teacher=BASE.replace(model="plain11", **SCALES["full"].teacher),
    arms=arms("full"),
    scales=SCALES,
    teacher_per_seed=True,
    against_teacher=FULL,
)

if __name__ == "__main__":
    main(STUDY)
