"""How deep must a student be, and does the answer depend on the loss?

    uv run studies/depth.py

Time: 45 trials on digits took 1 min 11 s on 2 cores.

Results on digits, mean test accuracy of 3 seeds, in %:

    layers                  3      5      7      9     11
    cross-entropy alone  91.34  96.19  95.78  94.19  91.30
    KD                   96.45  96.32  91.72  94.52  89.17
    both correlations    91.43  95.52  95.94  94.40  93.89

No arm is significantly above 5 layers with cross-entropy alone. KD lifts 3 layers to that level, and helps them by 4.77
points more than 9 layers [+1.96, +7.58], as declared. 15 epochs are few for 9 and 11 layers.
"""

from typing import Any

from scl import Config, Setting, Study, Term, designs
from scl.cli import main

# Depth → the weight that `weights.py` found on digits: of KD beside cross-entropy, and of both correlations.
KD = {3: 1.0, 5: 1.0, 7: 3.0, 9: 1.0, 11: 1.0}
SCL = {3: 0.3, 5: 0.1, 7: 0.03, 9: 0.03, 11: 0.1}


def student(depth: int, loss: str) -> dict[str, Any]:
    """What an arm of this depth and loss changes. Correlations compare the three deepest guided layers, and in plain3,
    which has two, the deepest."""
    term = Term(SCL[depth], layers=(-3, -2, -1) if depth > 3 else (-1,))
    losses: dict[str, dict[str, Any]] = {"none": {}, "kd": {"kd": KD[depth]}, "scl": {"channel": term, "spatial": term}}
    return {"model": f"plain{depth}", "losses": losses[loss]}


def gain(depth: int, loss: str) -> tuple[str, str]:
    """The arms whose difference is what a loss adds at this depth."""
    return f"depth={depth}/loss={loss}", f"depth={depth}/loss=none"


STUDY = Study(
    name="depth",
    question="How deep must a student be, and does the answer depend on the loss?",
    base=Config(epochs=30, batch_size=128, lr=0.05, warmup_epochs=1),
    teacher=Config(model="plain11", batch_size=128, lr=0.05, warmup_epochs=1),
    arms=designs.grid({"depth": (3, 5, 7, 9, 11), "loss": ("none", "kd", "scl")}, student),
    baseline="depth=5/loss=none",
    contrasts={
        "Does KD help 3 layers more than 9?": (gain(3, "kd"), gain(9, "kd")),
        "Do both correlations help 3 layers more than 9?": (gain(3, "scl"), gain(9, "scl")),
    },
    settings={
        "digits": Setting(
            student={"width": 0.125, "epochs": 15, "batch_size": 64},
            teacher={"width": 0.125, "epochs": 40, "batch_size": 64},
        ),
    },
)

if __name__ == "__main__":
    main(STUDY)
