"""What limits the verdict: what a reader must know beside it, each with a keyword."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from scl import stats
from scl.report.drift import drifted
from scl.report.facts import Facts, floor_text
from scl.report.findings import MOST_NAMED, lead, leading, level_name
from scl.report.formatting import (
    capital,
    enumerated,
    format_seeds,
    listing,
    name_of,
    plain,
    plural,
    seeds_named,
)
from scl.report.looks import of_other_seeds
from scl.report.registered import registered
from scl.report.stein import stein_sentence

UNEVEN = 3  # times the smallest class: from there the page states the sizes of classes


def of_files(facts: Facts, most: int = 6) -> list[str]:
    """What is wrong with the files of the store: a paragraph for each, the first ones only."""
    remarks = facts.results.remarks
    shown = [f"A file of this study is not as scl wrote it. {plain(remark)}." for remark in remarks[:most]]
    more = [f"{plural(len(remarks) - most, 'more file')} of this study are not as scl wrote them."]
    return shown + (more if len(remarks) > most else [])


def limits(facts: Facts) -> list[tuple[str, str]]:
    """What a reader must know to read the verdict rightly, as (keyword, text).

    First what belongs to the answer, then what was left out of it, then what it does not cover.
    """
    parts: Iterable[tuple[str, str]] = (
        *(("Files", text) for text in of_files(facts)),
        ("Declaration", _declaration(facts)),
        ("Controls", _controls(facts)),
        ("Other arms", _rivals(facts)),
        ("Constraints", _constraints(facts)),
        ("Margin", _margins(facts)),
        ("Stein's interval", stein_sentence(facts.study, max(facts.decimals, 2), facts.unit)),
        ("Linear model", _other_rule(facts)),
        ("Collapsed trials", _collapsed(facts)),
        ("Arms left out", left_out(facts)),
        ("Seeds", _power(facts)),
        ("Looks", _looks(facts)),
        ("Metric", _metric(facts)),
        ("Earlier seeds", _other_seeds(facts)),
        ("Merged stores", _merged(facts)),
        ("Not asked any more", _withdrawn(facts)),
        ("Gradient shares", drifted(facts)),
        ("Shared batches", _shared_batches(facts)),
        ("Teachers" if len(facts.teachers) > 1 else "Teacher", _teachers(facts)),
        ("Teacher's input", _teacher_input(facts)),
        ("Test set", _test_set_error(facts)),
        ("Class sizes", _imbalance(facts)),
    )
    return [(keyword, text) for keyword, text in parts if text]


def _controls(facts: Facts) -> str:
    """Controls that are as high as the arm of the verdict: its gain may be theirs."""
    found = lead(facts)
    if found is None or found.arm in facts.roles or facts.ahead(found.contrast.estimate) <= 0:
        return ""
    least = facts.ahead(found.contrast.estimate)
    as_high = [c for c in facts.contrasts.values() if c.arm in facts.roles and facts.ahead(c.estimate) >= least]
    if not as_high:
        return ""
    named = ", ".join(
        f"{name_of(c.arm)}, a {facts.roles[c.arm]} ({facts.unit.gain(c.estimate, facts.decimals)})"
        for c in sorted(as_high, key=lambda c: -facts.ahead(c.estimate))[:MOST_NAMED]
    )
    return (
        f"At least as far {'above' if facts.measure.sign > 0 else 'below'} the baseline as {name_of(found.arm)}: "
        f"{named}. Such an arm cannot win, but it may "
        "explain the gain."
    )


def _constraints(facts: Facts) -> str:
    """The bounds of costs, and the arms that break one."""
    if not facts.bounds:
        return ""
    bounds = enumerated([f"{name} ≤ {most:.6g}" for name, most in facts.bounds.items()])
    broken = [f"{name_of(arm)} ({what})" for arm, what in facts.breaking.items()]
    more = f"; and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
    text = f"A winner must keep {bounds}"
    if not broken:
        return f"{text}; every arm does."
    unlike = " The baseline is among them: it stays what others are compared with." * (facts.baseline in facts.breaking)
    return f"{text}. These cannot win, because they do not: {'; '.join(broken[:MOST_NAMED])}{more}.{unlike}"


def _margins(facts: Facts) -> str:
    """Which arms are shown to be no worse than the baseline by more than the margin, and what it would take."""
    comparison, margin = facts.comparison, facts.margin
    if comparison is None or not math.isfinite(comparison.critical) or not math.isfinite(margin):
        return ""
    tested = [c for c in comparison.contrasts if math.isfinite(c.lower)]
    same = [c.arm for c in tested if c.equivalent(margin)]
    above = [c.arm for c in tested if facts.no_worse(c) and c.arm not in same]
    rest = [c.arm for c in tested if not facts.no_worse(c)]
    limit = facts.unit.as_given(margin)
    late = ", chosen after results were seen" if facts.study.get("margin_after_look") else ""
    text = f"{limit}{late} (one-sided tests, corrected for {plural(comparison.tested, 'arm')})."
    text += f" Shown to differ from the baseline by less: {listing(same)}." if same else ""
    text += f" Shown to be no worse by more than that: {listing(above)}." if above else ""
    if rest:
        none = len(rest) == len(tested) > 1
        text += " No arm is shown to be no worse." if none else f" Not shown to be no worse: {listing(rest)}."
        needed = seeds_range(facts, margin, facts.level - facts.alpha, comparison.sd, comparison.df)
        text += f" With 80 % power, an arm that equals the baseline would need {needed}." if needed else ""
    return text


def _power(facts: Facts) -> str:
    """The smallest detectable effect with its uncertainty, and the seeds that the best arm's difference would need."""
    comparison, smallest = facts.comparison, facts.detectable()
    if comparison is None or not math.isfinite(smallest) or smallest <= 0:
        return "One seed cannot separate an effect from chance: run with --seeds 3 or more." if facts.seeds == 1 else ""
    low, high = facts.detectable_range()
    d = facts.unit.digits(low, max(facts.decimals, 1))
    text = (
        f"With {plural(comparison.seeds, 'seed')} and {comparison.tested + 1} arms, the smallest detectable effect is "
        f"about {facts.unit.size(smallest, d)} (80 % power; {facts.unit.interval(low, high, d)}, as the standard "
        "deviation is an estimate)"
    )
    found = lead(facts)
    if (
        found
        and found.contrast.shown == 0
        and round(facts.unit.factor * found.contrast.estimate, facts.decimals + 1) != 0
    ):
        c = found.contrast
        own = c.se * math.sqrt(c.n)  # what the rule judges this arm by; NaN with one seed
        wider = own > 1.001 * comparison.sd
        sd, df = (own, c.n - 1) if wider else (comparison.sd, comparison.df)
        text += (
            f"; {seeds_range(facts, c.estimate, facts.level, sd, df)} would detect a difference as large as that of "
            f"{name_of(found.arm)} ({facts.unit.size(c.estimate, facts.decimals + 1)})"
        )
        text += ", which scatters more widely than the arms together" if wider else ""
    return f"{text}."


def seeds_range(facts: Facts, effect: float, level: float, sd: float, df: float) -> str:
    """The seeds that a true difference of this size needs, with their range: `about 12 seeds (6 to 40)`.

    sd, df: the standard deviation of one seed's difference, and its degrees of freedom. The range is that of this
    standard deviation alone.
    """
    arms = facts.comparison.tested + 1 if facts.comparison else 0
    low, high = stats.sd_range(df)
    few, about, many = (stats.seeds_needed(effect / (f * sd), arms, level) for f in (low, 1, high))
    if about is None:
        return "more than 1,000 seeds"
    return f"about {about:,} seeds ({few or 2:,} to {f'{many:,}' if many else 'more than 1,000'})"


def _rivals(facts: Facts) -> str:
    found = lead(facts)
    if found is None or not found.won:
        return ""
    rivals = [other for other, p in facts.pairs.of(found.arm) if other != facts.baseline and not p < facts.alpha]
    return f"{name_of(found.arm)} is not shown to differ from {listing(rivals)} (all pairs, Holm)." if rivals else ""


def _other_rule(facts: Facts) -> str:
    """Arms about which the linear model says something else than the rule that decides."""
    if facts.model is None:
        return ""
    other = {c.arm: c for c in facts.model.contrasts}
    tested = [c for c in facts.contrasts.values() if math.isfinite(c.p)]  # the model tests an arm with one seed, too
    apart = [c.arm for c in tested if c.arm in other and other[c.arm].shown != c.shown]
    if not apart:
        return ""
    ours = [arm for arm in apart if facts.contrasts[arm].shown]
    theirs = [arm for arm in apart if other[arm].shown]
    said = [f"shown by the rule alone: {listing(ours)}"] if ours else []
    said += [f"shown by the model alone: {listing(theirs)}"] if theirs else []
    return (
        f"Dunnett's test in the model {facts.measure.words} ~ arm + seed, which takes all arms to scatter alike, "
        "disagrees with the "
        f"rule of this page ({'; '.join(said)}). The rule decides, because it holds where arms scatter differently."
    )


def _collapsed(facts: Facts) -> str:
    """Trials that did not learn, while their arm is compared on its other seeds."""
    partly = {arm: seeds for arm, seeds in facts.collapsed.items() if arm not in facts.left_out}
    if not partly:
        return ""
    named = [
        f"{name_of(arm)} on {seeds_named(seeds)} ({facts.unit.value(float(facts.scores.loc[seeds[0], arm]), 1)}"
        + (", …)" if len(seeds) > 1 else ")")
        for arm, seeds in list(partly.items())[:MOST_NAMED]
    ]
    more = f"; and {len(partly) - MOST_NAMED} more" if len(partly) > MOST_NAMED else ""
    pairs = " A seed on which the baseline collapsed is lost for every arm." if facts.baseline in partly else ""
    return (
        f"Collapsed (below {floor_text(facts.measure, facts.floor)}): {'; '.join(named)}{more}. Comparisons leave "
        "these trials out; "
        f"means and standard deviations contain them.{pairs}"
    )


def left_out(facts: Facts) -> str:
    """The arms that are not compared, with the reason for each."""
    if not facts.left_out:
        return ""
    reasons = "; ".join(f"{name_of(arm)} {reason}" for arm, reason in list(facts.left_out.items())[:MOST_NAMED])
    more = f"; and {len(facts.left_out) - MOST_NAMED} more" if len(facts.left_out) > MOST_NAMED else ""
    return f"Left out of the comparison: {reasons}{more}."


def on_fewer_seeds(facts: Facts) -> str:
    """The arms whose difference is not that of the two means in the main table."""
    arms = (facts.contrasts.keys() | {facts.baseline}) & set(facts.scores.columns)
    most = {arm: int(facts.scores[arm].count()) for arm in arms}
    fewer = [c.arm for c in facts.contrasts.values() if max(most[c.arm], most[facts.baseline]) > c.n]
    if not fewer:
        return ""
    return (
        f"Compared on fewer seeds than their means have, those that they share with the baseline and on which both "
        f"learnt: {listing(fewer)}. Their difference is not that of these means."
    )


def _teachers(facts: Facts) -> str:
    """Which teachers the intervals cover."""
    if len(facts.teachers) == 1 and facts.seeds > 1:
        return "All seeds used one teacher; the intervals do not cover other teachers."
    if 1 < len(facts.teachers) < facts.seeds:
        return (
            f"{facts.seeds} seeds share {len(facts.teachers)} teachers: the intervals here are about these teachers. "
            "Those for other teachers are below, in “How much does the teacher matter?”."
        )
    return ""


def _shared_batches(facts: Facts) -> str:
    """What the intervals do not cover, because all seeds of these arms saw the same batches."""
    configs = facts.study.get("arms") or {}
    arms = [arm for arm in facts.arms if (configs.get(arm) or {}).get("shared_batches")]
    if not arms or facts.seeds < 2:
        return ""
    whose = "" if len(arms) == len(facts.arms) else f" of {listing(arms)}"
    return (
        f"All seeds{whose} saw the same batches and augmentation. They differ in initial weights, and in the random "
        "numbers of a step (dropout, losses that draw). Standard deviations and intervals are about these batches; "
        "with another order of images, results may spread more widely."
        + " The search saw them too: its winners' fresh seeds are fresh in the rest alone."
        * bool(facts.study.get("search"))
    )


def _teacher_input(facts: Facts) -> str:
    """How a teacher from a file is fed and used, if that was said of it."""
    described = (facts.study.get("teacher") or {}).get("described")
    return f"The teacher comes from a file: {plain(described)}." if isinstance(described, str) and described else ""


def test_set_error(facts: Facts) -> float:
    """The standard error of an accuracy for other test images, as many; NaN if the metric is no share of images."""
    images = (facts.study.get("data") or {}).get("test")
    if not images or facts.scores.empty or facts.metric not in ("test_acc", "test_acc5"):
        return math.nan
    p = float(facts.scores[leading(facts)].mean())
    return math.sqrt(p * (1 - p) / images)


def _test_set_error(facts: Facts) -> str:
    """The sampling error of the test images, which seeds do not show."""
    if math.isnan(test_set_error(facts)):
        return ""
    images, p = facts.study["data"]["test"], float(facts.scores[leading(facts)].mean())
    if p in (0.0, 1.0):
        low, high = stats.share_interval(p, images)
        span = f"Jeffreys' 95 % interval for that many images is {facts.unit.interval(low, high, 1)} %"
        return f"The test set has {images:,} images, and all of them are {'right' if p else 'wrong'}: {span}."
    error = 100 * test_set_error(facts)
    return (
        f"The test set has {images:,} images. A different test set of this size would shift accuracies by about "
        f"{error:.2g} points (standard error), mostly together."
    )


def _merged(facts: Facts) -> str:
    merged = facts.study.get("merged") or []
    if not merged:
        return ""
    text = (
        f"These results were merged from {plural(len(merged), 'store')}. If a part was added because of what another "
        "had shown, a false winner is more likely than the intervals state."
    )
    if any(part.get("looks", 0) > 1 for part in merged):
        text += " At least one of these parts grew after a look at its results, which the intervals do not count."
    return text


def _metric(facts: Facts) -> str:
    """A metric that was chosen late."""
    late = facts.study.get("metric_after_look")
    chosen = (
        f"{capital(facts.measure.title)} was chosen after results were seen. If that is why, a false winner is more "
    )
    return f"{chosen}likely than the intervals state." if late else ""


def _imbalance(facts: Facts) -> str:
    """Classes of very different sizes, and what accuracy then means."""
    text = []
    for part, name in (("train", "training"), ("test", "test")):
        counts = [n for n in (facts.study.get("class_counts") or {}).get(part) or [] if n]
        if counts and max(counts) >= UNEVEN * min(counts):
            text.append(f"the largest class has {max(counts):,} {name} images, the smallest {min(counts):,}")
    if not text:
        return ""
    said = capital(f"{'; '.join(text)}.")
    if facts.metric in ("test_acc", "test_acc5"):
        said += (
            f" Always naming the largest class is right in {facts.chance_text}" if facts.metric == "test_acc" else ""
        )
        said += ": look at balanced accuracy" if facts.metric == "test_acc" else " Look at balanced accuracy"
        said += " too, in which all classes count alike (--metric balanced_acc)."
    return said


def _looks(facts: Facts) -> str:
    """How often results were seen, and what that does to the intervals."""
    planned = facts.study.get("planned_looks") or []
    if len(facts.looks) < 2 and not planned:
        return ""
    steps = ", ".join(f"{n:,}" for n in facts.looks)
    text = f"This is look {len(facts.looks)} at this study ({steps} seeds). Its intervals hold at {level_name(facts)}"
    if planned:
        text += f": the looks at {listing_of(planned)} seeds were planned and share the 5 %."
        if facts.looks and facts.looks[-1] not in planned:
            text += " This look was not planned; it takes its share of "
            late = facts.looks[-1] > planned[-1]
            text += "another 0.3 % for such looks." if late else "the 5 % for the seeds that it added."
        return text
    return (
        f"{text}: the first look took the 5 %, and later ones that were not planned with --looks share 0.3 %, so that "
        "a false finding at any look has a probability of at most 5.3 %."
    )


def _other_seeds(facts: Facts) -> str:
    others = of_other_seeds(facts.study)
    if not others:
        return ""
    return (
        f"This study was analysed before with seeds {format_seeds(others)}, not part of this page. If that is why "
        "the present seeds were tried, a false winner is more likely than the intervals state."
    )


def _declaration(facts: Facts) -> str:
    found = registered(facts)
    return f"Not as declared: {'; '.join(found.changes)}." if found and found.changes else ""


def _withdrawn(facts: Facts) -> str:
    withdrawn = facts.study.get("withdrawn")
    if not withdrawn:
        return ""
    return f"An earlier run of this study declared: {listing([str(one['question']) for one in withdrawn])}."


def listing_of(numbers: Sequence[int]) -> str:
    return enumerated([f"{n:,}" for n in numbers])
