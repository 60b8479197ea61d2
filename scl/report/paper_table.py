"""The main table for a paper: LaTeX (booktabs) and Markdown with a caption that defines its numbers, and CSV."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from scl import stats
from scl.report.blocks import Cell
from scl.report.csv_text import csv_column, csv_lines
from scl.report.facts import Facts, metric_heading, summary
from scl.report.findings import level_name
from scl.report.formatting import DASH, capital, count, d_z, p_value, plain, plural


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


_LATEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "“": "``",
    "”": "''",
    "×": r"$\times$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def latex(facts: Facts) -> str:
    """A `table` environment for the booktabs package. Names in non-Latin scripts need XeLaTeX or LuaLaTeX."""
    heads = [_latex(head).replace(r"d\_z", "$d_z$").replace("95 ", "95\\,") for head in _heads(facts)]
    heads = [r"$p$" if head == "p" else r"$n$" if head == "n" else head for head in heads]
    body = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in _rows(facts)]
    text = _latex(caption(facts)).replace(r"d\_z", "$d_z$")
    text = text.replace(r"accuracy \textasciitilde{} arm", r"accuracy $\sim$ arm")
    start = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{text}}}"]
    start += [r"\begin{tabular}{l" + "r" * (len(heads) - 1) + "}", r"\toprule"]
    end = [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join([*start, " & ".join(heads) + r" \\", r"\midrule", *body, *end])


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
