"""The main table for a paper: LaTeX (booktabs), Markdown, CSV, each with what its numbers are."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable

from scl import stats
from scl.report.facts import Facts, summary
from scl.report.theme import plain
from scl.report.words import count, p_value, plural, points, signed

_HEADS = ("Arm", "n", "Accuracy, %", "95 % interval", "Difference", "95 % simultaneous", "p", "d_z", "Params", "MACs")
_EMPTY = "–"


def caption(facts: Facts) -> str:
    """What the table shows: the measure, n, the interval, the model and its correction, what was left out."""
    study = facts.study
    data = (study.get("data") or {}).get("name")
    counts = sorted({int(n) for n in facts.scores.notna().sum()})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n from {counts[0]} to {counts[-1]}" if counts else "n = 0"
    text = f"Test accuracy after the last epoch{f' on {plain(data)}' if data else ''}: mean ± standard deviation over "
    text += f"seeds ({n})"
    comparison = facts.comparison
    if facts.seeds > 1:
        text += ", with Student's 95 % interval of the mean"
    text += ". "
    if comparison is not None and math.isfinite(comparison.critical):
        text += (
            f"Differences to “{plain(facts.baseline)}” in points with simultaneous 95 % intervals and p corrected for "
            f"{plural(len(comparison.contrasts), 'comparison')} (Dunnett, in the model accuracy ~ arm + seed, "
            f"{comparison.df} degrees of freedom); d_z is the mean paired difference in units of its standard "
            "deviation over seeds. "
        )
    elif comparison is not None:
        text += f"Differences to “{plain(facts.baseline)}” in points, without intervals: too few seeds, or no spread. "
    if math.isfinite(facts.teacher):
        text += f"Teacher: {100 * facts.teacher:.{facts.decimals}f} %"
        text += f", mean of {len(facts.teachers)}. " if len(facts.teachers) > 1 else ", one for all seeds. "
    if facts.left_out:
        text += "Left out of the comparison: " + ", ".join(f"{plain(a)} ({r})" for a, r in facts.left_out.items()) + "."
    return text.strip()


def _rows(facts: Facts) -> list[list[str]]:
    d, m = facts.decimals, facts.metric

    def number(value: float, show: Callable[[float], str]) -> str:
        return show(value) if math.isfinite(value) else _EMPTY

    def percent(value: float) -> str:
        return f"{100 * value:.{d}f}"

    def pair(low: float, high: float, show: Callable[[float], str]) -> str:
        return f"[{show(low)}, {show(high)}]" if math.isfinite(low) else _EMPTY

    def difference(value: float) -> str:
        return points(value, d)

    rows = []
    for r in summary(facts).to_dict("records"):
        mean = number(r[f"{m}_mean"], percent)
        if math.isfinite(r[f"{m}_sd"]):
            mean += f" ± {percent(r[f'{m}_sd'])}"
        rows.append(
            [
                plain(r["arm"]),
                f"{r['n']:.0f}",
                mean,
                pair(r[f"{m}_low"], r[f"{m}_high"], percent),
                number(r["difference"], difference),
                pair(r["difference_low"], r["difference_high"], difference),
                p_value(r["p"]),
                number(r["d_z"], lambda v: signed(v, 1 if r["n"] < 10 else 2)),  # noqa: B023 - called at once
                count(r["params"]),
                count(r["macs"]),
            ]
        )
    return rows


def markdown(facts: Facts) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rows = [[_markdown(cell) for cell in row] for row in _rows(facts)]
    rule = line(["---", *["---:"] * (len(_HEADS) - 1)])
    heads = line([_markdown(head) for head in _HEADS])
    return "\n".join([heads, rule, *map(line, rows), "", _markdown(caption(facts)), ""])


def _markdown(text: str) -> str:
    """Text that Markdown shows as it is: what would be markup or HTML is escaped."""
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
    """A `table` environment for the booktabs package; names in other scripts need a Unicode engine."""
    heads = [_latex(head).replace(r"d\_z", "$d_z$").replace("95 ", "95\\,") for head in _HEADS]
    heads = [r"$p$" if head == "p" else r"$n$" if head == "n" else head for head in heads]
    body = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in _rows(facts)]
    text = (
        _latex(caption(facts))
        .replace(r"d\_z", "$d_z$")
        .replace("accuracy \\textasciitilde{} arm", r"accuracy $\sim$ arm")
    )
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{text}}}",
            r"\begin{tabular}{l" + "r" * (len(_HEADS) - 1) + "}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def comma_separated(facts: Facts) -> str:
    """All columns of the main table, exact, fractions as fractions; the caption as comment lines on top."""
    out = io.StringIO()
    out.write(f"# {caption(facts)}\n# level {stats.LEVEL}; accuracies and differences are fractions\n")
    frame = summary(facts)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in frame.itertuples(index=False):
        writer.writerow(["" if isinstance(v, float) and not math.isfinite(v) else v for v in row])
    return out.getvalue()


FORMATS: dict[str, Callable[[Facts], str]] = {"LaTeX": latex, "Markdown": markdown, "CSV": comma_separated}
