"""The main table for a paper: LaTeX (booktabs) and Markdown with a caption that defines its numbers, and CSV."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from scl import stats
from scl.report.blocks import Cell
from scl.report.csv_text import csv_column, csv_lines
from scl.report.facts import Facts
from scl.report.findings import level_name
from scl.report.formatting import DASH, capital, count, d_z, p_value, plain, plural
from scl.report.latex_text import latex_text
from scl.report.main_table import metric_heading, summary
from scl.store.output import file_name

MOST_NAMED = 8  # arms in a sentence of the caption


def _heads(facts: Facts) -> list[str]:
    return [
        "Arm",
        "n",
        metric_heading(facts),
        "95 % interval",
        "Difference",
        "simultaneous",
        "p",
        "d_z",
        "Params",
        "MACs",
    ]


def caption(facts: Facts) -> str:
    """The measure, n, the interval, the model and its correction, and the arms that are left out."""
    study = facts.study
    data = (study.get("data") or {}).get("name")
    counts = sorted({int(n) for n in facts.scores.notna().sum()})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n from {counts[0]} to {counts[-1]}" if counts else "n = 0"
    text = (
        f"{capital(facts.measure.title)} after the last epoch{f' on {plain(data)}' if data else ''}: mean ± standard "
    )
    text += f"deviation over seeds ({n})"
    comparison = facts.comparison
    text += ", with Student's 95 % interval of the mean. " if facts.seeds > 1 else ". "
    if comparison is not None and math.isfinite(comparison.critical):
        text += (
            f"Differences from “{plain(facts.baseline)}” in {facts.unit.many}, paired by seed, with simultaneous "
            f"{level_name(facts)} intervals and p corrected for {plural(comparison.tested, 'comparison')} (Dunnett's "
            "critical values; pooled variance of the differences or an arm's own if larger; Box's degrees of freedom, "
            f"{comparison.df:.1f}); d_z is the mean paired difference divided by its standard deviation over seeds. "
        )
    elif comparison is not None:
        text += (
            f"Differences from “{plain(facts.baseline)}” in {facts.unit.many}, without intervals: too few seeds, or "
        )
        text += "no spread. "
    if math.isfinite(facts.teacher):
        text += f"Teacher: {facts.unit.value(facts.teacher, facts.decimals)}"
        text += f" (mean of {len(facts.teachers)}). " if len(facts.teachers) > 1 else " (one for all seeds). "
    if facts.left_out:
        text += "Left out of the comparison: " + ", ".join(f"{plain(a)} ({r})" for a, r in facts.left_out.items()) + "."
    return text.strip()


def _rows(facts: Facts) -> list[list[str]]:
    d, m = facts.decimals, facts.metric

    def interval(row: dict[str, Any], of: str, show: Callable[[float, int], str]) -> str:
        low, high = row[f"{of}_low"], row[f"{of}_high"]
        return f"[{show(low, d)}, {show(high, d)}]" if math.isfinite(low) else DASH

    rows = []
    for r in summary(facts).to_dict("records"):
        mean, sd = facts.unit.number(r[f"{m}_mean"], d), r[f"{m}_sd"]
        mean += f" ± {facts.unit.number(sd, d)}" if math.isfinite(sd) else ""
        accuracy = [plain(r["arm"]), f"{r['n']:.0f}", mean, interval(r, m, facts.unit.number)]
        difference = [
            facts.unit.difference(r["difference"], d),
            interval(r, "difference", facts.unit.bound),
            p_value(r["p"]),
        ]
        rows.append([*accuracy, *difference, d_z(r["d_z"], r["n"]), count(r["params"]), count(r["macs"])])
    return rows


def markdown(facts: Facts) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rows = [[_markdown(cell) for cell in row] for row in _rows(facts)]
    named = _heads(facts)
    rule = line(["---", *["---:"] * (len(named) - 1)])
    heads = line([_markdown(head) for head in named])
    return "\n".join([heads, rule, *map(line, rows), "", _markdown(caption(facts)), ""])


def _markdown(text: str) -> str:
    """The text with markup and HTML escaped."""
    for character in "\\`*_{}[]<>|#~":
        text = text.replace(character, f"\\{character}")
    return text


def latex(facts: Facts) -> str:
    """A `table` environment for the booktabs package, which every LaTeX compiles, whatever the names are.

    Bold: the best mean of the arms that may win. Marked: differences from the baseline that are significant. A column
    of n that are all alike is left out, because the caption gives it.
    """
    frame, best = summary(facts), _best(facts)
    with_n = frame["n"].nunique() > 1
    body = []
    for arm, row in zip(map(str, frame["arm"]), _rows(facts), strict=True):
        name, n, mean, interval, difference, *rest = map(latex_text, row)
        # TeX would take what stands first for an option of the rule, or of the end of the line, above.
        name = f"{{}}{name}" if name.startswith(("[", "*")) else name
        mean = rf"\textbf{{{mean}}}" if arm in best else mean
        difference += _MARKS.get(_ahead(facts, arm), "")
        body.append(" & ".join([name, *([n] if with_n else []), mean, interval, difference, *rest]) + r" \\")
    label = re.sub(r"[^A-Za-z0-9]+", "-", str(facts.study.get("study") or "")).strip("-") or "study"
    text = latex_text(" ".join(part for part in (caption(facts), _bold(facts, best)) if part)).replace(r"d\_z", "$d_z$")
    start = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{text}}}"]
    start += [rf"\label{{tab:{label}}}", r"\par\smallskip\footnotesize", r"\setlength{\tabcolsep}{2.5pt}"]
    start += [rf"\begin{{tabular}}{{@{{}}l{'r' * (8 + with_n)}@{{}}}}", r"\toprule", *_latex_heads(facts, with_n)]
    note = _significance(facts, [_ahead(facts, arm) for arm in map(str, frame["arm"])])
    end = [r"\bottomrule", r"\end{tabular}", *([r"\par\smallskip", note] if note else []), r"\end{table}", ""]
    return "\n".join([*start, r"\midrule", *body, *end])


def _latex_heads(facts: Facts, with_n: bool) -> list[str]:
    """Two lines of headings: groups with a rule below each, and the columns."""
    arrow, first = r"\uparrow" if facts.measure.sign > 0 else r"\downarrow", 2 + with_n
    metric, difference = latex_text(metric_heading(facts)), latex_text(f"Minus the baseline, {facts.unit.many}")
    before = "& " * (first - 1)
    groups = rf"{before}\multicolumn{{2}}{{c}}{{{metric} ${arrow}$}} & \multicolumn{{4}}{{c}}{{{difference}}} & &"
    rules = rf"\cmidrule(lr){{{first}-{first + 1}}} \cmidrule(lr){{{first + 2}-{first + 5}}}"
    columns = [
        "Arm",
        *(["$n$"] if with_n else []),
        r"mean $\pm$ sd",
        r"95\,\% interval",
        "mean",
        "interval",
        "$p$",
        "$d_z$",
    ]
    return [rf"{groups} \\", rules, " & ".join([*columns, "Params", "MACs"]) + r" \\"]


_MARKS = {1: r"$^{*}$", -1: r"$^{\dagger}$"}


def _ahead(facts: Facts, arm: str) -> int:
    """1 if an arm is shown to be better than the baseline, −1 if worse, else 0."""
    return int(facts.ahead(facts.contrasts[arm].shown)) if arm in facts.contrasts else 0


def _best(facts: Facts) -> list[str]:
    """The arm with the best mean of those that may win, with those of exactly the same mean."""
    means = facts.scores.mean()
    means = means[[arm not in facts.left_out and arm not in facts.barred for arm in means.index]].dropna()
    return [] if means.empty else [str(arm) for arm in means.index[means == means[facts.best(means)]]]


def _bold(facts: Facts, best: list[str]) -> str:
    """What is bold, and the arms that are not shown to differ from it."""
    if not best:
        return ""
    means, words = facts.scores.mean(), {"highest": "higher", "lowest": "lower"}[facts.extreme]
    out = f"Bold: the {facts.extreme} mean"
    for arm, why in facts.barred.items():
        if arm in means and facts.ahead(means[arm] - means[best[0]]) > 0:
            reason = why.removeprefix("which ") if why.startswith("which ") else f"is {why}"
            out += f"; “{plain(arm)}” is {words}, but {reason}"
    pairs = facts.pairs
    p = dict(pairs.of(best[0])) if best[0] in pairs.arms and len(pairs.arms) > 1 else {}
    if not any(map(math.isfinite, p.values())):
        return f"{out}."
    level = f"{100 * facts.alpha:.3g} %"
    alike = [arm for arm, value in p.items() if not value < facts.alpha]
    if not alike:
        return f"{out}. Each other arm that is compared differs from it (all pairs, Holm's correction, {level})."
    named = ", ".join(f"“{plain(arm)}”" for arm in alike[:MOST_NAMED])
    more = f" and {len(alike) - MOST_NAMED} more" if len(alike) > MOST_NAMED else ""
    return f"{out}. Not shown to differ from it (all pairs, Holm's correction, {level}): {named}{more}."


def _significance(facts: Facts, ahead: list[int]) -> str:
    """The note below the table: what the marks mean, with the test and its correction."""
    words = {1: "better", -1: "worse"}
    marked = [f"{_MARKS[side]} {word}" for side, word in words.items() if side in ahead]
    if not marked or facts.comparison is None:
        return ""
    baseline, n = latex_text(plain(facts.baseline)), plural(facts.comparison.tested, "comparison")
    level = latex_text(f"the simultaneous {level_name(facts)} interval of the difference")
    return f"{', '.join(marked)} than ``{baseline}'': {level} excludes 0 (Dunnett's critical values for {n})."


def comma_separated(facts: Facts) -> str:
    """All columns of `summary` with exact values, as csv_text writes them, with the level of the intervals of means and
    of differences."""
    frame = summary(facts).assign(level=stats.LEVEL, difference_level=facts.level)
    columns = [_csv_column(frame[name].tolist()) for name in frame.columns]
    return csv_lines([list(frame.columns), *zip(*columns, strict=True)])


def _csv_column(values: list[Any]) -> list[object]:
    if all(isinstance(value, str) for value in values):
        return list(csv_column(values))
    return [Cell("", value).exact for value in values]


FORMATS: dict[str, Callable[[Facts], str]] = {"LaTeX": latex, "Markdown": markdown, "CSV": comma_separated}
SUFFIXES = {"LaTeX": ".tex", "Markdown": ".md", "CSV": ".csv"}


def file(facts: Facts) -> str:
    """The name of a file with this table, without its suffix."""
    return file_name(f"{facts.study.get('study') or 'study'}-main-table")
