"""The words and symbols of the page."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Arm, baseline", "a named variant in the study; the arm that all others are compared with"),
    ("Trial, seed", "one arm at one seed. A seed moves initialisation, data order and augmentation, nothing else"),
    ("Teacher, student", "the trained network that guides; the network being trained"),
    ("Guided layer", "a feature map of the student that a transfer loss compares with one of the teacher"),
    ("k, self-taught neurons", "extra channels of a guided layer that this layer's transfer losses do not see"),
    ("Point", "a percentage point: 71.0 % is one point above 70.0 %"),
    ("n", "seeds behind a number: completed trials of the arm"),
    ("Test accuracy", "share of test images classified rightly after the last epoch; never the best epoch"),
    (
        "Best test epoch",
        "the highest test accuracy of any epoch: picked on the test set, hence optimistic. No figure and no test "
        "on this page uses it",
    ),
    (
        "±, sd",
        "standard deviation over seeds, with n − 1: the spread of single trials, not of their mean. In tables of "
        "curves, and only there, ± is half of the interval",
    ),
    ("95 % interval of a mean", "Student's t: mean ± t(n − 1) · sd / √n"),
    (
        "Simultaneous interval",
        "intervals of all differences to the baseline that hold together with 95 %, so that the largest may be "
        "picked after looking. Dunnett's method in the linear model accuracy ~ arm + seed",
    ),
    (
        "p, corrected p",
        "p of the same model and method: the chance of a difference this large anywhere, were there none",
    ),
    (
        "Holm p",
        "paired tests with Holm's step-down correction over a family: all arms against the baseline in the main "
        "table (a check that does not pool variances), all pairs in the matrix. Each panel is a family of its own",
    ),
    ("d_z", "mean paired difference divided by the standard deviation of the paired differences"),
    ("df", "degrees of freedom: what is left over to estimate the error from"),
    ("Correlation across seeds", "how much arms go up and down together from seed to seed; what pairing gains from"),
    ("Power, smallest effect", "the true difference that such intervals tell from 0 in 80 % of studies like this"),
    (
        "Collapsed",
        "an arm with a seed that ended under half of the baseline's way above chance. It is named and left out, as"
        " its variance would widen every interval",
    ),
    ("Pruned", "stopped early on purpose; never averaged with completed trials"),
    (
        "F, type II, partial η²",
        "analysis of variance: each term after all others that do not contain it; share of a term in the variance "
        "that it and the residual make up",
    ),
    ("Interaction, ×", "what one factor is worth depends on the level of the other"),
    ("Agreement", "share of test images on which student and teacher predict the same class, right or wrong"),
    ("Gap closed", "(arm − baseline) / (teacher − baseline), by seed; no value where the teacher is not ahead"),
    ("Calibration error", "mean distance between stated confidence and share right, over 15 bins of confidence"),
    ("KL, nats", "mean Kullback–Leibler divergence of the student's probabilities from the teacher's; 0 is equal"),
    (
        "Params, MACs, latency",
        "trained parameters of the student; multiply-adds of its forward pass for one image; time of one such "
        "pass, measured once an architecture",
    ),
    ("Pareto front", "the arms that no other arm beats in both accuracy and cost"),
    ("fANOVA", "share of the variance over a search space that a parameter explains by itself (Hutter et al. 2014)"),
    (
        "PED-ANOVA",
        "how differently the best tenth of trials is spread over a parameter than all of them (Watanabe et al. 2023)",
    ),
    ("Look", "one analysis of a study that grew: each further look makes a chance winner likelier"),
)
