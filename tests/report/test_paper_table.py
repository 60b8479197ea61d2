"""The main table for a paper."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scl.report import paper_table
from scl.report.facts import Facts, gather
from scl.report.latex_text import latex_text
from scl.report.main_table import summary
from scl.store.results import read_results
from tests.support.pages import NASTY, built
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    make_store,
)


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    return gather(read_results(make_store(tmp_path / "s", ARMS, range(4), accuracy(EFFECTS))))


def test_caption_states_n_interval_and_correction(facts: Facts) -> None:
    said = paper_table.caption(facts)
    for part in (
        "n = 4",
        "mean ± standard deviation",
        "Student's 95 % interval",
        "4 comparisons (Dunnett's critical values",
        f"Box's degrees of freedom, {facts.comparison.df:.1f}" if facts.comparison else "never",
    ):
        assert part in said
    for make in (paper_table.latex, paper_table.markdown):
        assert "Dunnett" in make(facts)


def test_csv_holds_the_exact_numbers_of_the_page(facts: Facts, tmp_path: Path) -> None:
    text = paper_table.comma_separated(facts)
    rows = list(csv.DictReader(io.StringIO(text)))
    page, _, _ = built(make_store(tmp_path / "again", ARMS, range(4), accuracy(EFFECTS)))
    for row, shown in zip(rows, page.tables["main-table"], strict=True):
        assert row["arm"] == shown["data-arm"][0]
        for key in ("test_acc_mean", "difference", "difference_low", "p", "p_holm", "d_z", "params"):
            exact = shown[key][1]
            assert (row[key] == "") if exact is None else float(row[key]) == float(exact)
    read = pd.read_csv(io.StringIO(text))
    pd.testing.assert_frame_equal(read.iloc[:, :-2], summary(facts), check_exact=True, check_dtype=False)
    assert {str(kind) for kind in read.dtypes} == {"str", "int64", "float64"}
    assert read[["level", "difference_level"]].drop_duplicates().to_numpy().tolist() == [[0.95, facts.level]]


def test_tables_escape_names(tmp_path: Path) -> None:
    names = ["baseline", "a & b_c 50% #1 $x$ {y} \\z ~^", "<b>|`x`|</b>\nnext", "=1+1", *NASTY[1:]]
    facts = gather(read_results(make_store(tmp_path / "s", names, range(3))))
    latex = paper_table.latex(facts)
    assert r"a \& b\_c 50\% \#1 \$x\$ \{y\} \textbackslash{}z \textasciitilde{}\textasciicircum{}" in latex
    body = latex[latex.index(r"\midrule") : latex.index(r"\bottomrule")]
    assert len(re.findall(r"(?<!\\)&", body)) == 8 * len(names)
    assert body.count(r" \\" + "\n") == len(names)
    markdown = paper_table.markdown(facts).split("\n")
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 11 for line in markdown[: len(names) + 2])
    assert "<" not in re.sub(r"\\<", "", "".join(markdown))
    frame = pd.read_csv(io.StringIO(paper_table.comma_separated(facts)))
    assert list(frame["arm"]) == [f"'{name}" if name[0] in "=@" else name for name in names]


UNSEEN = " \u00a0\u3000\ufeff\u202e\n\t"


@pytest.mark.parametrize(
    "first", ["=", "+", "-", "@", "\t", "\r", " =", "＝", "\n=", "\u00a0=", "\ufeff=", "\u202e=", "\u3000＋"]
)
def test_no_cell_of_a_csv_is_a_formula(first: str, tmp_path: Path) -> None:
    names = ["baseline", f"{first}cmd|' /C calc'!A0", f"a,{first}cmd|x", f'b"{first}1']
    states = {(names[2], 0): "failed"}  # then the caption names it
    facts = gather(read_results(make_store(tmp_path / "s", names, range(3), states=states)))
    lines = list(csv.reader(io.StringIO(paper_table.comma_separated(facts))))
    cells = [cell for line in lines for cell in line]
    formulas = [cell for cell in cells if cell.strip(UNSEEN)[:1] in {*"=+-@＝＋－＠"} and not number(cell)]
    assert not formulas
    frame = pd.read_csv(io.StringIO(paper_table.comma_separated(facts)))
    assert frame["difference"].dropna().tolist() == summary(facts)["difference"].dropna().tolist()


def number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_one_seed_has_no_intervals_in_the_table(tmp_path: Path) -> None:
    facts = gather(read_results(make_store(tmp_path / "s", ARMS, [0], accuracy(EFFECTS))))
    assert "interval of the mean" not in paper_table.caption(facts)
    assert "without intervals" in paper_table.caption(facts)
    assert "±" not in paper_table.markdown(facts).split("\n")[3]


def test_the_latex_table_has_a_label_the_best_in_bold_and_significance_marked(facts: Facts) -> None:
    latex = paper_table.latex(facts)
    assert latex.count(r"\label{tab:ablation}") == latex.count(r"\caption{") == 1
    assert latex.index(r"\caption{") < latex.index(r"\label{")
    rows = {line.partition(" &")[0]: line for line in latex.splitlines() if line.endswith(r"\\")}
    assert [arm for arm, line in rows.items() if r"\textbf" in line] == ["channel+spatial"]
    shown = {arm: contrast.shown for arm, contrast in facts.contrasts.items()}
    assert {arm: ("$^{*}$" in rows[arm]) - ("dagger" in rows[arm]) for arm in shown} == shown
    assert set(shown.values()) == {1, 0, -1}
    assert r"Accuracy, \% $\uparrow$" in latex
    assert "$^{*}$ better, $^{\\dagger}$ worse than ``baseline'': the simultaneous 95 \\% interval" in latex
    assert "(Dunnett's critical values for 4 comparisons)" in latex
    assert "Bold: the highest mean. Each other arm that is compared differs from it" in latex


def test_lower_is_better_for_a_loss(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ARMS, range(4), accuracy(EFFECTS), metric="test_loss")
    latex = paper_table.latex(gather(read_results(store)))
    assert r"$\downarrow$" in latex
    assert "Bold: the lowest mean" in latex
    rows = {line.partition(" &")[0]: line for line in latex.splitlines() if line.endswith(r"\\")}
    assert "$^{*}$" in rows["kd"]
    assert "dagger" in rows["spatial"]


@pytest.mark.parametrize(
    ("study", "bold", "says"),
    [
        ({"roles": {"channel+spatial": "control"}}, "kd", "“channel+spatial” is higher, but is a control."),
        ({"constraints": {"params": 70_500}}, "baseline", "“kd” is higher, but breaks a constraint (params 7.1e+04)"),
        ({"roles": {"spatial": "reference"}}, "channel+spatial", "Bold: the highest mean. Each"),
    ],
)
def test_only_an_arm_that_may_win_is_bold(tmp_path: Path, study: dict[str, Any], bold: str, says: str) -> None:
    store = make_store(tmp_path / "s", ARMS, range(4), accuracy(EFFECTS), **study)
    latex = paper_table.latex(gather(read_results(store)))
    (row,) = [line for line in latex.splitlines() if r"\textbf{" in line]
    assert row.startswith(f"{bold} &")
    assert latex_text(says) in latex


def test_arms_that_are_not_shown_to_differ_from_the_best_are_named(tmp_path: Path) -> None:
    effects = dict.fromkeys(ARMS, 0.0) | {"kd": 0.02, "channel": 0.0201}
    facts = gather(read_results(make_store(tmp_path / "s", ARMS, range(4), accuracy(effects))))
    best = facts.best(facts.scores.mean())
    alike = [arm for arm, p in facts.pairs.of(best) if not p < 0.05]
    assert alike == [{"kd": "channel", "channel": "kd"}[best]]
    assert f"Not shown to differ from it (all pairs, Holm's correction, 5 \\%): ``{alike[0]}''." in paper_table.latex(
        facts
    )


def test_each_n_stands_in_the_table_if_they_differ(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ARMS, range(4), accuracy(EFFECTS), {("kd", 1): "failed"})
    latex = paper_table.latex(gather(read_results(store)))
    assert "Arm & $n$ & mean" in latex
    assert "kd & 3 &" in latex


@pytest.mark.slow
def test_latex_compiles_whatever_the_names_are(tmp_path: Path) -> None:
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex on this machine")
    names = [
        "baseline",
        "[x] first",
        "*star",
        "\\input{/etc/passwd}",
        "^^41",
        "%c",
        "é ł λ≤5",
        "你好",
        "\\",
        "}",
        "$",
        *NASTY[1:],
    ]
    latex = paper_table.latex(gather(read_results(make_store(tmp_path / "s", names, range(3)))))
    start, end = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n", "\\end{document}\n"
    (tmp_path / "a.tex").write_text(start + latex + end, encoding="utf-8")
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
