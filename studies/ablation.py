"""Which transfer loss helps a 5-layer student under an 11-layer teacher, by how much, and how sure is that?

    uv run studies/ablation.py
    uv run studies/ablation.py --data path/to/cifar100 --label fine_label --limit 5000 --epochs 3 --seeds 2 --arms kd,scl
"""

from scl.cli import main
from scl.config import Config
from scl.study import Setting, Study

K = 16  # self-taught neurons of each guided layer

STUDY = Study(
    name="ablation",
    question="Which transfer loss helps a 5-layer student under an 11-layer teacher, by how much, and how sure is that?",
    base=Config(student="plain5", epochs=30, batch_size=128, lr=0.1, warmup_epochs=1),
    teacher=Config(student="plain11", batch_size=128, lr=0.1, warmup_epochs=1),
    # Each arm is cross-entropy plus weighted transfer losses; what an arm does not name is as in `base`.
    arms={
        "baseline": {},
        "kd": {"ce": 0.1, "losses": {"kd": 0.9}},
        "hint": {"losses": {"hint": 1}},
        "at": {"losses": {"at": 1000}},
        "channel": {"losses": {"channel": 3}},
        "spatial": {"losses": {"spatial": 10}},
        "channel+spatial": {"losses": {"channel": 3, "spatial": 10}},
        "scl": {"losses": {"channel": 3, "spatial": 10}, "self_taught": K},
    },
    settings={
        # Digits are easy: a narrow student, so that there is something to gain.
        "digits": Setting(
            student={"width": 0.125, "epochs": 20, "batch_size": 64},
            teacher={"width": 0.125, "batch_size": 64},
        ),
    },
)

if __name__ == "__main__":
    main(STUDY)
