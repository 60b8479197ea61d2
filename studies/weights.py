"""Which loss weights suit a student's depth, and its number of self-taught neurons?

    uv run studies/weights.py --val 0.3

`depth.py` and `self_taught.py` take their weights from here, so each depth and each count of self-taught neurons has
weights tuned for it. Validation accuracy decides, so 0.3 of the training images are held out.

Results on digits, mean validation accuracy of 2 seeds on 300 images, in %. If two weights tie, the smaller is chosen:

    depth           3      5      7      9     11        self-taught     4      8     16     32     64
    kd 0.3       93.8   96.3   97.8   96.8   96.0        scl 0.03     95.5   97.8   98.0   97.7   97.5
    kd 1         97.0   97.8   97.8   97.0   96.7        scl 0.1      95.8   97.5   97.8   97.5   97.8
    kd 3         96.8   97.0   98.0   95.5   94.0        scl 0.3      95.7   96.3   98.2   97.7   97.3
    scl 0.03     88.3   94.3   97.2   94.8   94.8        scl 1        94.8   95.5   96.3   98.0   97.2
    scl 0.1      88.3   95.3   95.7   94.8   95.5
    scl 0.3      89.0   93.8   95.3   93.0   94.2
    scl 1        85.7   92.5   94.8   93.3   92.7

Two seeds are only enough to rule out weights that are far off.
"""

from typing import Any

from scl import Config, Setting, Study, Term, designs
from scl.cli import main

KD = (0.3, 1.0, 3.0)
SCL = (0.03, 0.1, 0.3, 1.0)  # weight of the channel correlation and of the spatial one


def distilled(depth: int, kd: float) -> dict[str, Any]:
    return {"model": f"plain{depth}", "losses": {"kd": kd}}


def correlated(depth: int, scl: float) -> dict[str, Any]:
    """Correlations of the three deepest guided layers, and in plain3, which has two, of the deepest."""
    term = Term(scl, layers=(-3, -2, -1) if depth > 3 else (-1,))
    return {"model": f"plain{depth}", "losses": {"channel": term, "spatial": term}}


def widened(self_taught: int, scl: float) -> dict[str, Any]:
    return {**correlated(5, scl), "self_taught": self_taught}


DEPTHS = (3, 5, 7, 9, 11)
STUDY = Study(
    name="weights",
    question="Which loss weights suit a student's depth, and its number of self-taught neurons?",
    base=Config(model="plain5", epochs=30, batch_size=128, lr=0.05, warmup_epochs=1),
    teacher=Config(model="plain11", batch_size=128, lr=0.05, warmup_epochs=1),
    arms={"baseline": {}}
    | designs.grid({"depth": DEPTHS, "kd": KD}, distilled)
    | designs.grid({"depth": DEPTHS, "scl": SCL}, correlated)
    | designs.grid({"self_taught": (4, 8, 16, 32, 64), "scl": SCL}, widened),
    seeds=2,
    settings={
        "digits": Setting(
            student={"width": 0.125, "epochs": 15, "batch_size": 64},
            teacher={"width": 0.125, "epochs": 40, "batch_size": 64},
        ),
    },
)

if __name__ == "__main__":
    main(STUDY)
