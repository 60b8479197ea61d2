"""Effects, intervals and tests of a study: numbers only.

Everywhere, `scores` is a frame of shape (seeds, arms): the index holds seeds, the columns arms, and a value is the
accuracy of one completed trial as a fraction, NaN without one. Results that the data cannot support are NaN.

The comparison with the baseline is Dunnett's (1955) in a randomised complete block design: accuracy ~ arm + seed, with
the seed as the block. The distributions come from scipy.special, because scipy.stats takes a second to import.
"""

from scl.stats.anova import Anova, anova
from scl.stats.blocks import collapse_floor, collapsed, correlation
from scl.stats.images import (
    ClassDifferences,
    ImageDifference,
    Mistakes,
    class_differences,
    image_difference,
    mistakes,
)
from scl.stats.intervals import LEVEL, NO_SPREAD, POWER, Array, Mean, mean_interval, t_critical, t_p
from scl.stats.pairs import Declared, Paired, Pairs, all_pairs, declared, holm, paired
from scl.stats.power import seeds_needed, smallest_effect
from scl.stats.ranks import pareto, ranks_without_a_seed
from scl.stats.ratio import Ratio, ratio_of_means
from scl.stats.rule import Comparison, Contrast, against_baseline
from scl.stats.sequential import stein_seeds

__all__ = [
    "LEVEL", "NO_SPREAD", "POWER", "Anova", "Array", "ClassDifferences", "Comparison", "Contrast", "Declared",
    "ImageDifference", "Mean", "Mistakes", "Paired", "Pairs", "Ratio", "against_baseline", "all_pairs", "anova",
    "class_differences", "collapse_floor", "collapsed", "correlation", "declared", "holm", "image_difference",
    "mean_interval", "mistakes", "paired", "pareto", "ranks_without_a_seed", "ratio_of_means", "seeds_needed",
    "smallest_effect", "stein_seeds", "t_critical", "t_p",
]  # fmt: skip
