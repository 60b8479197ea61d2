"""Which transfer loss helps a 5-layer student under an 11-layer teacher, by how much, and how sure is that?

uv run studies/ablation.py
uv run studies/ablation.py --data path/to/cifar100 --label fine_label --arms kd,scl
"""

from scl.cli import main
from scl.config import Config, Term
from scl.study import Setting, Study

# The three deeper guided layers: correlations of the shallowest, 64×32×32 on CIFAR, cost more than the whole step.
DEEP = (1, 2, 3)
CHANNEL = Term(0.3, layers=DEEP)
SPATIAL = Term(0.3, layers=DEEP)
K = 8  # self-taught neurons of each guided layer, in the arm `scl`

STUDY = Study(
    name="ablation",
    question="Which transfer loss helps a 5-layer student under an 11-layer teacher, by how much, and how sure?",
    base=Config(student="plain5", epochs=30, batch_size=128, lr=0.05, warmup_epochs=1),
    teacher=Config(student="plain11", batch_size=128, lr=0.05, warmup_epochs=1),
    # Each arm is cross-entropy plus weighted transfer losses; what an arm does not name is as in `base`.
    # kd: the published setting. The others: of 0.1, 0.3, 1, 3, … the largest weight that left validation accuracy
    # on digits intact (4 seeds): correlations at weight 3 or more drown the task there.
    arms={
        "baseline": {},
        "kd": {"ce": 0.1, "losses": {"kd": 0.9}},
        "hint": {"losses": {"hint": 0.1}},
        "at": {"losses": {"at": 10}},
        "channel": {"losses": {"channel": CHANNEL}},
        "spatial": {"losses": {"spatial": SPATIAL}},
        "channel+spatial": {"losses": {"channel": CHANNEL, "spatial": SPATIAL}},
        "scl": {"losses": {"channel": CHANNEL, "spatial": SPATIAL}, "self_taught": K},
    },
    settings={
        # Digits are easy: a narrow student and few epochs, so that there is something to gain from a teacher.
        "digits": Setting(
            student={"width": 0.125, "epochs": 15, "batch_size": 64},
            teacher={"width": 0.25, "epochs": 40, "batch_size": 64},
        ),
    },
)

if __name__ == "__main__":
    main(STUDY)
