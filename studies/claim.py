"""Does the method beat its teacher after a fair search, and at which number of training images?

    uv run studies/claim.py                                                                     # does everything run?
    uv run studies/claim_search.py --scale laptop --data path/to/cifar100 --label fine_label    # values, once
    uv run studies/claim.py --scale laptop --data path/to/cifar100 --label fine_label           # 10 seeds
    uv run studies/claim.py --scale 20000 --data path/to/cifar100 --label fine_label            # more images

`headline.py` asks the same with weights from five trials a method; this study searches longer, and confirms on seeds
that no search has seen. One comparison is declared here, before anything of it trains: the full method (KD, channel and
spatial correlations, self-taught neurons) minus its teacher, each seed with a teacher of its own.

Every student is the widest plain5 that has fewer parameters and fewer multiply-accumulates than its teacher, a plain11
× 0.125: one with more self-taught neurons has narrower guided layers. So no arm wins by size.

The weights are shares of the gradient (`Term(share=…)`), beside cross-entropy with weight 1: a share means the same in
every loss, at every width and number of images. The values were searched at scale `laptop`, and serve the other scales.
"""

from typing import TYPE_CHECKING, Any

from scl import Scale, Study, Term
from scl.cli import main
from scl.study.designs import Design

if TYPE_CHECKING:
    from studies import headline
else:
    import headline  # a script's folder is on the path

FULL = headline.FULL
# Self-taught neurons a layer → the largest width, in 1/128, whose plain5 stays below the teacher in both sizes.
WIDTHS = {0: 34 / 128, 2: 33 / 128, 4: 30 / 128, 8: 26 / 128, 16: 19 / 128}
COUNT = 2  # unless a search chose another
LAYERS = (-2, -1)  # those that correlations compare: shallow ones cost too much beside a narrow student's step

# What `claim_search.py` chose, by mean validation accuracy over its two seeds.
CHOSEN: dict[str, dict[str, Any]] = {
    "kd": {"share.kd": 7.58, "kd.temperature": 4.0},
    "dist": {"share.dist": 8.71, "dist.temperature": 2.0},
    "dkd": {"share.dkd": 9.74, "dkd.beta": 8.0, "dkd.temperature": 4.0},
    FULL: {
        "share.kd": 4.81,
        "kd.temperature": 4.0,
        "share.channel": 0.625,
        "share.spatial": 1.44,
        "self_taught": 8,
    },
}

KD = Term(share=3.0, options={"temperature": 4.0})
METHODS: dict[str, dict[str, Any]] = {
    "kd": {"losses": {"kd": KD}},
    "dist": {"losses": {"dist": Term(share=3.0, options={"temperature": 1.0})}},
    "dkd": {"losses": {"dkd": Term(share=3.0, options={"beta": 2.0, "temperature": 4.0})}},
    FULL: {
        "losses": {"kd": KD, "channel": Term(share=0.3, layers=LAYERS), "spatial": Term(share=0.3, layers=LAYERS)},
        "self_taught": COUNT,
    },
}


def sized(changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An arm whose student is as wide as its count of self-taught neurons allows."""
    arm = {**changes, **more}
    return {**arm, "width": WIDTHS[arm.get("self_taught", 0)]}


def arms() -> Design:
    """The methods with their chosen values, controls of the extra neurons, and the full method at every count."""
    found = {name: sized(changes, **CHOSEN.get(name, {})) for name, changes in METHODS.items()}
    full = found[FULL]
    count = full["self_taught"]
    controls = {
        "self-taught": sized({}, self_taught=count),  # nothing guided
        "kd+self-taught": sized(found["kd"], self_taught=count),
        f"{FULL} all guided": {**full, "guided": "all"},
        f"{FULL} taken": {**full, "self_taught_from": "taken"},
    }
    counts = {f"{FULL} k={k}": sized(full, self_taught=k) for k in WIDTHS if k != count}
    every = {"baseline": sized({}), **found, **controls, **counts}
    roles = dict.fromkeys((*controls, f"{FULL} k=0"), "control")
    return Design(every, "methods, controls of the extra neurons and their counts", roles=roles)


FEW = ("baseline", "kd", "dist", FULL)  # where images are many
SIZE = headline.SIZES["laptop"]


def scale(**settings: Any) -> Scale:
    same = {"batch_size": SIZE.batch_size, "lr": SIZE.lr}
    found = {
        "student": {"epochs": SIZE.epochs, **same},
        "teacher": {"width": SIZE.width, "epochs": SIZE.teacher_epochs, **same},
        "arms": arms(),
        "data": "cifar100",
        "val": 0.0,
    }
    return Scale(**{**found, **settings})


ONLY_FEW = [name for name in arms() if name not in FEW]
SMOKE = {"batch_size": SIZE.batch_size, "lr": SIZE.lr}
STUDY = Study(
    name="claim",
    question="Does the method beat its teacher after a fair search, and at which number of training images?",
    base=headline.BASE,
    teacher=headline.BASE.replace(model="plain11"),
    arms=arms(),
    scales={
        "smoke": scale(
            limit=1_000,
            seeds=2,
            student={"epochs": 2, **SMOKE},
            teacher={"width": SIZE.width, "epochs": 3, **SMOKE},
            without=ONLY_FEW,
        ),
        "laptop": scale(limit=10_000, seeds=10),
        "20000": scale(limit=20_000, seeds=3, without=ONLY_FEW),
        "50000": scale(seeds=3, without=ONLY_FEW),
    },
    teacher_per_seed=True,
    against_teacher=FULL,
)

if __name__ == "__main__":
    main(STUDY)
