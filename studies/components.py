"""What is each part of the full method worth: taken away from it, and alone?

uv run studies/components.py
"""

from scl.cli import main
from scl.config import Config, Term
from scl.designs import add_one_in, leave_one_out
from scl.study import Setting, Study

DEEP = (-3, -2, -1)  # guided layers that correlations compare
PARTS = {
    "kd": {"ce": 0.1, "losses": {"kd": 0.9}},
    "channel": {"losses": {"channel": Term(0.3, layers=DEEP)}},
    "spatial": {"losses": {"spatial": Term(0.3, layers=DEEP)}},
    "self-taught": {"self_taught": 8},
}

STUDY = Study(
    name="components",
    question="What is each part of the full method worth: taken away from it, and alone?",
    base=Config(student="plain5", epochs=30, batch_size=128, lr=0.05, warmup_epochs=1),
    teacher=Config(student="plain11", batch_size=128, lr=0.05, warmup_epochs=1),
    arms=leave_one_out(PARTS, full="full") | add_one_in(PARTS, none="nothing"),
    baseline="full",
    settings={
        "digits": Setting(
            student={"width": 0.125, "epochs": 15, "batch_size": 64},
            teacher={"width": 0.25, "epochs": 40, "batch_size": 64},
        ),
    },
)

if __name__ == "__main__":
    main(STUDY)
