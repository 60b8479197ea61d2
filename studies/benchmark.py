"""Do the losses come out here as they were published?

    uv run studies/benchmark.py --pair vgg13-vgg8                                       # minutes: does all of it run?
    python studies/benchmark.py --pair vgg13-vgg8 --scale full --data cifar100          # one GPU
    python studies/benchmark.py --pair resnet32x4-resnet8x4 --scale full --data cifar100
    python studies/benchmark.py --pair wrn_40_2-wrn_16_2 --scale full --data cifar100

Each loss of the table of Tian et al. (ICLR 2020) and two later ones, on three of its pairs, by its recipe: 240 epochs
on all images of CIFAR-100, the last epoch counts. `--scale short` is the same in 60 epochs, its milestones in
proportion; nothing published is like it, so its distances say little. The page's main table has a second one below it,
with each mean beside the published figure.
"""

from dataclasses import replace
from typing import Any

from scl import cli
from scl.config import Config, Term, UserError, unknown
from scl.recipes import RECIPES, at_length
from scl.study import Published, Scale, Study

RECIPE = RECIPES["crd"]
LENGTH = RECIPE.fields["epochs"]
SOURCE = (
    "Published figures: the table of Tian et al. (ICLR 2020) with its recipe and weights, the last of 240 epochs; ICKD "
    "and DKD from their own papers. All from one teacher a pair, which is not the one here."
)
OTHERWISE = {"dkd": "best test epoch of each of five runs: higher than a last epoch by what choosing gives"}

# Test accuracy on CIFAR-100, %, by pair; and beta of DKD, which its paper sets by pair.
NAMES = ("teacher", "baseline", "kd", "hint", "at", "sp", "cc", "vid", "rkd", "pkt", "fsp", "nst", "ickd", "dkd")
FIGURES: dict[str, tuple[float, ...]] = {
    "vgg13-vgg8": (74.64, 70.36, 72.98, 71.02, 71.43, 72.68, 70.71, 71.23, 71.48, 72.88, 70.23, 71.53, 73.42, 74.68),
    "resnet32x4-resnet8x4": (
        79.42,
        72.50,
        73.33,
        73.50,
        73.44,
        72.94,
        72.97,
        73.09,
        71.90,
        73.64,
        72.62,
        73.30,
        75.25,
        76.32,
    ),
    "wrn_40_2-wrn_16_2": (
        75.61,
        73.26,
        74.92,
        73.58,
        74.08,
        73.83,
        73.56,
        74.11,
        73.35,
        74.54,
        72.91,
        73.68,
        75.64,
        76.23,
    ),
}
BETA = {"vgg13-vgg8": 6.0, "resnet32x4-resnet8x4": 8.0, "wrn_40_2-wrn_16_2": 6.0}

# This project's method, which nobody has published here: correlations of the deeper guided layers, weights of
# `ablation.py`, with KD as published where it is beside them.
CORRELATIONS = {"channel": Term(0.3, layers=(-3, -2, -1)), "spatial": Term(0.3, layers=(-3, -2, -1))}
OURS: dict[str, dict[str, Any]] = {
    **{name: {"losses": {name: term}} for name, term in CORRELATIONS.items()},
    "scl": {"losses": CORRELATIONS, "self_taught": 8},
    "scl+kd": {"ce": 0.1, "losses": {**CORRELATIONS, "kd": 0.9}, "self_taught": 8},
}


def arms(pair: str, epochs: int) -> dict[str, dict[str, Any]]:
    """The published losses and this project's, in so many epochs: a warm-up or a pre-training of some in proportion."""

    def shortened(count: int) -> int:
        return max(1, round(count * epochs / LENGTH))

    published = {name: RECIPE.arms[name] for name in NAMES if name in RECIPE.arms}
    dkd: Term = published["dkd"]["losses"]["dkd"]
    dkd = replace(dkd, warmup=shortened(dkd.warmup), options={**dkd.options, "beta": BETA[pair]})
    fsp = {**published["fsp"], "pretrain_epochs": shortened(published["fsp"]["pretrain_epochs"])}
    return {"baseline": {}, **published, "fsp": fsp, "dkd": {"losses": {"dkd": dkd}}, **OURS}


def scale(pair: str, epochs: int, **settings: Any) -> Scale:
    fields = at_length(RECIPE, epochs)
    guide = {name: value for name, value in fields.items() if name != "tap"}
    return Scale(student=fields, teacher=guide, arms=arms(pair, epochs), val=RECIPE.val, **settings)


def study(pair: str) -> Study:
    teacher, student = pair.split("-")
    full = scale(pair, LENGTH, seeds=3)
    return Study(
        name=f"benchmark-{pair}",
        question=f"Do the losses come out here as they were published, for {teacher} → {student}?",
        base=Config(student=student).replace(**full.student),
        teacher=Config(student=teacher).replace(**full.teacher),
        arms=arms(pair, LENGTH),
        scales={"smoke": scale(pair, 2, limit=500, seeds=1), "short": scale(pair, 60, seeds=3), "full": full},
        published=Published(
            {name: round(figure / 100, 6) for name, figure in zip(NAMES, FIGURES[pair], strict=True)}, SOURCE, OTHERWISE
        ),
    )


STUDY = study("vgg13-vgg8")


def pair_study(pair: str) -> Study:
    if pair not in FIGURES:
        raise UserError(unknown("pair", pair, FIGURES))
    return study(pair)


def main() -> None:
    parser = cli.parser(STUDY)
    parser.add_argument("--pair", default="vgg13-vgg8", metavar="P", help=f"one of {', '.join(FIGURES)}")
    arguments = vars(parser.parse_args())
    pair = arguments.pop("pair")
    cli.exit_with(lambda: cli.run(*cli.at_scale(pair_study(pair), cli.Options(**arguments))))


if __name__ == "__main__":
    main()
