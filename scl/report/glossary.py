"""The words and symbols of the page."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Arm, baseline", "a named variant in the study; the arm that all others are compared with"),
    ("Trial, seed", "one arm with one seed. A seed changes initialisation, data order and augmentation, nothing else"),
    ("Teacher, student", "the trained network that guides; the network being trained"),
    ("Guided layer", "a feature map of the student that a transfer loss compares with one of the teacher"),
    ("k, self-taught neurons", "extra channels of a guided layer that its transfer losses do not see"),
    ("Point", "a percentage point: 71.0 % is one point above 70.0 %"),
    ("n", "the number of seeds behind a number: completed trials of the arm"),
    ("Test accuracy", "share of correctly classified test images after the last epoch, never the best epoch"),
    (
        "Best test epoch",
        "the highest test accuracy of any epoch. It is picked on the test set and therefore optimistic. No figure and "
        "no test on this page uses it",
    ),
    (
        "±, sd",
        "standard deviation over seeds (n − 1): the spread of single trials, not of their mean",
    ),
    ("95 % interval of a mean", "Student's t: mean ± t(n − 1) · sd / √n"),
    (
        "Simultaneous interval",
        "intervals of all differences from the baseline that hold together with 95 %, so that you may pick the "
        "largest after seeing them. Dunnett's method in the linear model accuracy ~ arm + seed",
    ),
    (
        "p, corrected p",
        "p from the same model and method: the probability of a difference this large in any arm if no arm differs "
        "from the baseline",
    ),
    (
        "Holm p",
        "paired tests with Holm's step-down correction over a family: all arms against the baseline in the main table "
        "(a check that does not pool variances), all pairs in the matrix. Each panel is a separate family",
    ),
    ("Significant, shown", "p below 5 % after the panel's correction, or an interval that excludes 0"),
    ("d_z", "mean paired difference divided by the standard deviation of the paired differences"),
    ("df", "degrees of freedom: what remains to estimate the error from"),
    ("r across seeds", "how strongly seeds affect arms alike; the stronger, the more pairing narrows the intervals"),
    (
        "Power, smallest detectable effect",
        "the true difference that such intervals separate from 0 in 80 % of studies like this one",
    ),
    (
        "Collapsed",
        "an arm with a seed that ended below half of the baseline's accuracy above chance. The page names it and "
        "leaves it out, because its variance would widen every interval",
    ),
    ("Pruned", "stopped early on purpose; never averaged with completed trials"),
    (
        "F, type II, partial η²",
        "analysis of variance: each term after all others that do not contain it; the share of a term in the variance "
        "of itself and the residual",
    ),
    ("Interaction, ×", "the effect of one factor depends on the level of the other"),
    ("Agreement", "share of test images for which student and teacher predict the same class, right or wrong"),
    (
        "Gap closed",
        "mean of arm − baseline, divided by the mean of teacher − baseline, over shared seeds. Fieller's interval "
        "holds the ratios that a paired t test does not reject",
    ),
    (
        "Calibration error, floor",
        "mean distance between predicted confidence and accuracy, over 15 bins of confidence; its floor is what chance "
        "alone gives a perfectly calibrated network with the same confidences",
    ),
    (
        "Standard error, SE",
        "the standard deviation that an estimate would have over repetitions of its source of error",
    ),
    ("KL, nats", "mean Kullback–Leibler divergence of the student's probabilities from the teacher's; 0 means equal"),
    (
        "Params, MACs, latency",
        "trained parameters of the student; multiply-adds of its forward pass for one image; duration of one such "
        "pass, measured once for each architecture",
    ),
    ("Pareto front", "the arms that no other arm beats in both accuracy and cost"),
    ("fANOVA", "share of the variance over the search space that a parameter explains alone (Hutter et al. 2014)"),
    (
        "PED-ANOVA",
        "how differently the best tenth of trials and all trials are spread over a parameter (Watanabe et al. 2023)",
    ),
    ("Interim analysis", "one analysis of a growing study; each one makes a false winner more likely"),
)
