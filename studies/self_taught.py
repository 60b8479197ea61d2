"""How many self-taught neurons does a 5-layer student want, and is it not only the extra parameters?

    uv run studies/self_taught.py

69 trials on digits, 2 min 7 s on 2 cores under a teacher that was there. Last run: baseline 96.19 %; with both
correlations and k = 0, 4, 8, 16, 32, 64: 95.52, 96.19, 96.95, 97.41, 97.37, 97.53; the same width with no guidance at
all at k = 4 … 64: 95.90, 96.91, 97.87, 97.95, 97.83 (n = 3 each). So on digits, with a student of an eighth of the
width, it is the extra parameters: no arm can be told from its unguided control. k = 64 gains +1.34 [+0.07, +2.61]
points on the baseline, its control +1.63.
"""

from scl.cli.main import main
from scl.study.config import Config
from scl.study.controls import self_taught_controls
from scl.study.designs import Design
from scl.study.study import Setting, Study
from scl.study.term import Term

# By count, the weight of both correlations that `weights.py` found on digits.
SCL = {0: 0.1, 4: 0.1, 8: 0.03, 16: 0.3, 32: 1.0, 64: 0.1}


def correlated(weight: float) -> dict:
    term = Term(weight, layers=(-3, -2, -1))
    return {"losses": {"channel": term, "spatial": term}}


def by_count() -> Design:
    """For each count the arm and its controls; which of these an arm is, is a factor.

    Channels can be taken of a layer only where it has more: 64 never, for the first guided layer has 64 at width 1.
    """
    arms = {"scl k=0": correlated(SCL[0])}
    levels = {"baseline": {"self_taught": 0, "control": "unguided"}, "scl k=0": {"self_taught": 0, "control": "none"}}
    for k in list(SCL)[1:]:
        for name, changes in self_taught_controls("scl", correlated(SCL[k]), k).items():
            if name == "scl k=64 taken":
                continue
            arms[name] = changes
            levels[name] = {"self_taught": k, "control": name.removeprefix(f"scl k={k}").strip() or "none"}
    return Design({"baseline": {}, **arms}, "counts with controls", levels)


STUDY = Study(
    name="self_taught",
    question="How many self-taught neurons does a 5-layer student want, and is it not only the extra parameters?",
    base=Config(model="plain5", epochs=30, batch_size=128, lr=0.05, warmup_epochs=1),
    teacher=Config(model="plain11", batch_size=128, lr=0.05, warmup_epochs=1),
    arms=by_count(),
    settings={
        # As wide as the teacher, so that only the controls have a connector. The first guided layer has 8 channels.
        "digits": Setting(
            student={"width": 0.125, "epochs": 15, "batch_size": 64},
            teacher={"width": 0.125, "epochs": 40, "batch_size": 64},
            without=[f"scl k={k} taken" for k in (8, 16, 32)],
        ),
    },
)

if __name__ == "__main__":
    main(STUDY)
