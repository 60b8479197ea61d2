"""What is each part of the full method worth: taken away from it, and alone?

    uv run studies/components.py

Time: 30 trials, 1 min 33 s on 2 cores, teacher and page included.

On digits, 3 seeds, test accuracy ± sd over seeds, and the difference to the full method with its simultaneous 95 %
interval, in points:

    full                  97.83 ± 0.63
    without kd            96.45 ± 0.62    −1.38 [−2.93, +0.16]
    without channel       97.78 ± 0.26    −0.04 [−1.59, +1.50]
    without spatial       97.28 ± 0.38    −0.54 [−2.09, +1.00]
    without self-taught   97.57 ± 0.29    −0.25 [−1.80, +1.29]
    nothing               96.19 ± 0.72    −1.63 [−3.18, −0.09]
    only kd               96.99 ± 0.38    −0.84 [−2.38, +0.71]
    only channel          95.82 ± 0.96    −2.01 [−3.55, −0.46]
    only spatial          95.86 ± 0.70    −1.97 [−3.51, −0.42]
    only self-taught      96.91 ± 0.74    −0.92 [−2.47, +0.63]

The full method beats nothing, and either correlation alone; that a single part is worth something is not shown.
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
