"""The words and symbols of the page."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Arm, baseline", "a named variant in the study; the arm that all others are compared with"),
    (
        "Trial, seed",
        "one arm with one seed. A seed changes initialisation, data order and augmentation, nothing else; with "
        "--shared-batches it leaves data order and augmentation as they are",
    ),
    (
        "Augmentation",
        "how training images change before each step, the same for teacher and students; evaluation changes none. rrc: "
        "a random part of the image, enlarged to the full size; crop: a shift by up to an eighth of the side; flip: "
        "mirrored half the time; jitter: brightness, contrast, saturation and hue; randaugment, trivialaugment: "
        "published policies; erasing: a box of the mean colour; mixup, cutmix: two images and their classes in one",
    ),
    ("Teacher, student", "the trained network that guides; the network being trained"),
    ("Guided layer", "a feature map of the student that a transfer loss compares with one of the teacher"),
    ("k, self-taught neurons", "extra channels of a guided layer that its transfer losses do not see"),
    ("Point", "a percentage point: 71.0 % is one point above 70.0 %"),
    ("n", "the number of seeds behind a number: completed trials of the arm"),
    (
        "Test accuracy",
        "share of correctly classified test images after the last epoch, never the best test epoch. An arm with "
        "`patience` keeps the network of its best validation epoch instead, and its test accuracy is of that network",
    ),
    (
        "Balanced accuracy, macro F1",
        "means over the classes that the test set has: of the share of their images that is right; of the harmonic "
        "mean of precision and recall",
    ),
    (
        "Log loss, nats",
        "mean negative logarithm of the probability that a network gives the right class; lower is better",
    ),
    (
        "Chance",
        "what the best rule reaches that never looks at an image. Accuracy: the share of the largest class; balanced "
        "accuracy: one over the number of classes",
    ),
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
        "largest after seeing them. The variance is pooled over all paired differences from the baseline, or the arm's "
        "own if that is larger; degrees of freedom are Box's, critical values Dunnett's",
    ),
    (
        "p, corrected p",
        "p of the same rule: the probability of a difference this large in any arm if no arm differs from the baseline",
    ),
    (
        "Holm p",
        "tests with Holm's step-down correction over a family: paired t tests of all arms against the baseline in the "
        "main table (which pool no variances), all pairs in the matrix. Each panel is a separate family",
    ),
    ("Model p", "Dunnett's p in the model accuracy ~ arm + seed, which takes all arms to scatter alike"),
    ("Declared", "written down before anything trained, and tested by one paired t test each"),
    (
        "Margin, no worse",
        "the difference that does not matter to you. No worse: a one-sided test at 5 % excludes a loss as large as the "
        "margin; absent: so does the test of a gain (two one-sided tests)",
    ),
    ("Control, reference", "arms that explain others and cannot win"),
    ("Look", "one analysis of a study that grows. All looks share the error of 5 %, so later intervals are wider"),
    ("Significant, shown", "p below 5 % after the panel's correction, or an interval that excludes 0"),
    ("d_z", "mean paired difference divided by the standard deviation of the paired differences"),
    ("df", "degrees of freedom: what remains to estimate the error from"),
    ("r across seeds", "how strongly seeds affect arms alike; the stronger, the more pairing narrows the intervals"),
    (
        "Power, smallest detectable effect",
        "the true difference that such intervals separate from 0 in 80 % of studies like this one, by simulation; an "
        "estimate, because the standard deviation is one",
    ),
    (
        "Collapsed",
        "a trial that ended below half of the baseline's accuracy above chance, or no clearer above chance than test "
        "images scatter. The page names it; comparisons leave it out, because its variance would widen every interval",
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
    ("Pareto front", "the arms that no other arm beats in both the metric and the cost"),
    ("fANOVA", "share of the variance over the search space that a parameter explains alone (Hutter et al. 2014)"),
    (
        "PED-ANOVA",
        "how differently the best tenth of trials and all trials are spread over a parameter (Watanabe et al. 2023)",
    ),
    (
        "Teacher's share of variance",
        "the part of the variance of one seed's difference that comes from its teacher, among teachers of one recipe",
    ),
)
