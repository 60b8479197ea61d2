"""Effects, intervals and tests of a study: numbers only.

Everywhere, `scores` is a frame of shape (seeds, arms): the index holds seeds, the columns arms, and a value is the
accuracy of one completed trial as a fraction, NaN without one. Results that the data cannot support are NaN.

rule.py       decides about arms against the baseline       model.py     Dunnett's in accuracy ~ arm + seed, beside it
spread.py     variances and what they are worth              pairs.py     paired t tests, all pairs of arms
contrasts.py  declared differences                           looks.py     the level at each look
confusions.py classes that are taken for each other          images.py    what single test images say
power.py      smallest detectable effect, seeds needed       collapse.py  trials that did not learn

The distributions come from scipy.special, because scipy.stats takes a second to import.
"""

from scl.stats.anova import Anova, anova
from scl.stats.blocks import correlation
from scl.stats.collapse import collapse_floor, collapsed, learnt
from scl.stats.confusions import confusion, pair_differences
from scl.stats.contrasts import Declared, declared, weighted
from scl.stats.images import (
    ClassDifferences,
    ImageDifference,
    Mistakes,
    class_differences,
    image_difference,
    mistakes,
)
from scl.stats.intervals import LEVEL, NO_SPREAD, POWER, Array, Mean, mean_interval, share_interval, t_critical, t_p
from scl.stats.looks import level_of_look
from scl.stats.model import in_the_model
from scl.stats.pairs import Paired, Pairs, all_pairs, holm, paired
from scl.stats.power import sd_range, seeds_needed, smallest_effect
from scl.stats.ranks import pareto, ranks_without_a_seed
from scl.stats.ratio import Ratio, ratio_of_means
from scl.stats.rule import Comparison, Contrast, against_baseline
from scl.stats.sequential import stein_seeds
from scl.stats.teachers import (
    Estimate,
    TeacherEffect,
    half_if_teachers_differ,
    teacher_effect,
    teacher_effects,
    tolerated_spread,
)

__all__ = [
    "LEVEL", "NO_SPREAD", "POWER", "Anova", "Array", "ClassDifferences", "Comparison", "Contrast", "Declared",
    "Estimate", "ImageDifference", "Mean", "Mistakes", "Paired", "Pairs", "Ratio", "TeacherEffect",
    "against_baseline", "all_pairs", "anova", "class_differences", "collapse_floor", "collapsed", "confusion",
    "correlation", "declared", "half_if_teachers_differ", "holm", "image_difference", "in_the_model", "learnt",
    "level_of_look", "mean_interval", "mistakes", "pair_differences", "paired", "pareto", "ranks_without_a_seed",
    "ratio_of_means", "sd_range", "seeds_needed", "share_interval", "smallest_effect", "stein_seeds", "t_critical",
    "t_p", "teacher_effect", "teacher_effects", "tolerated_spread", "weighted",
]  # fmt: skip
