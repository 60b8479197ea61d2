"""Are two teachers better than one, and is a student its own best teacher?

    uv run studies/teachers.py --seeds 5

Every guided arm learns from logits, so mainly its teachers differ: the study's teacher, the mean of two of its seeds,
the mean of it and another network, each of these two by itself, the student's own network trained from the labels
(born-again) and its second and third generation, the mean of all generations before, and the moving average of the
student's own weights (mean teacher, with a warm-up, since at first it knows nothing).

Results on digits, 5 seeds, mean test accuracy ± standard deviation in %, and minus the baseline with the simultaneous
95 % interval, in points:

    baseline       95.6 ± 1.0
    one            96.1 ± 1.0   +0.5 [-1.3, +2.3]
    two            96.0 ± 0.6   +0.4 [-1.4, +2.2]
    with vgg8      96.6 ± 0.4   +1.0 [-0.8, +2.7]
    each           96.7 ± 0.5   +1.1 [-0.7, +2.8]
    born-again     94.4 ± 1.2   -1.2 [-3.0, +0.5]
    born-again 2   93.2 ± 0.4   -2.4 [-4.2, -0.7]
    born-again 3   92.1 ± 1.0   -3.5 [-5.7, -1.3]
    generations    93.4 ± 1.0   -2.2 [-4.1, -0.3]
    average        95.8 ± 0.7   +0.2 [-1.6, +2.0]
    mean teacher   92.1 ± 2.7   -3.5 [-7.2, +0.2]

No arm is shown to be better than the baseline; the second and third generation, and the arm that all generations teach,
are shown to be worse. All seeds used one teacher of each kind. The mean teacher keeps the weight of the cross-entropy
at 1, and was not tuned.
"""

from scl import Config, Setting, Study, Term
from scl.cli import main

KD = {"ce": 0.1, "losses": {"kd": 0.9}}

STUDY = Study(
    name="teachers-compared",
    question="Are two teachers better than one, and is a student its own best teacher?",
    base=Config(model="plain5", epochs=30, batch_size=128, lr=0.05, warmup_epochs=1),
    teacher=Config(model="plain11", batch_size=128, lr=0.05, warmup_epochs=1),
    arms={
        "baseline": {},
        "one": KD,
        "two": {**KD, "taught_by": ("teacher", "teacher")},
        "with vgg8": {**KD, "taught_by": ("teacher", "vgg8")},
        "each": {**KD, "taught_by": ("teacher", "vgg8"), "mean_of": "losses"},
        "born-again": {**KD, "taught_by": ("self",)},
        "born-again 2": {**KD, "taught_by": ("self:1",)},
        "born-again 3": {**KD, "taught_by": ("self:2",)},
        "generations": {**KD, "taught_by": ("self", "self:1", "self:2")},
        "average": {"ema": 0.99},
        "mean teacher": {"ema": 0.99, "losses": {"kd": Term(0.9, warmup=5)}, "taught_by": ("ema",)},
    },
    contrasts={
        "Is the mean of two teachers better than one?": ("two", "one"),
        "Is another network a better second teacher?": ("with vgg8", "two"),
        "Is a loss with each teacher better than one with their mean?": ("each", "with vgg8"),
        "Is the larger teacher better than the student's own network?": ("one", "born-again"),
        "Is a third generation better than the first?": ("born-again 3", "born-again"),
        "Are all generations a better teacher than the last?": ("generations", "born-again 3"),
        "Does the average teach, beyond being kept?": ("mean teacher", "average"),
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
