"""Pages over several studies, the main table for a paper, and the scripts of reports/."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pages import NASTY, Page, built
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests
from synthetic import accuracy, make_store, rewrite_trials

from scl import report, results
from scl.report import between, export
from scl.report.figures import compare

ARMS = ["baseline", "kd", "channel", "spatial", "channel+spatial"]
EFFECTS = dict(zip(ARMS, [0, 0.02, 0.004, -0.012, 0.026], strict=True))
SCRIPTS = Path(__file__).parents[1] / "reports"


def shifted(by: float, arms: list[str] = ARMS) -> Any:
    """Accuracies of another run: the first arms by another luck, `kd` moved."""
    first = accuracy(EFFECTS)
    again = accuracy(dict.fromkeys(EFFECTS, 0.0), base=0.0, spread=0.001)
    return lambda arm, seed: first(arm, seed) + again(arm, seed + 50) + (by if arm == "kd" else 0.0)


@pytest.fixture
def two(tmp_path: Path) -> dict[str, results.Results]:
    one = make_store(tmp_path / "one", ARMS, range(5), accuracy(EFFECTS))
    other = make_store(tmp_path / "two", ARMS[:4], range(1, 6), shifted(0.03))
    study = results.read_study(other)
    changed = {"git": {"commit": "fedcba", "dirty": False}, "versions": {**study["versions"], "torch": "2.12.0"}}
    arms = {**study["arms"], "kd": {"losses": {"kd": {"weight": 0.9}}}}
    results.write_study(other, {**study, **changed, "arms": arms})
    rewrite_trials(other, lambda t: t.assign(config_id=t["config_id"].where(t["arm"] != "kd", "c" * 64)))
    return {"one": results.read(one), "two": results.read(other)}


def test_shared_arms_are_compared_in_pairs_on_shared_seeds(two: dict[str, results.Results]) -> None:
    facts = {name: report.gather(study) for name, study in two.items()}
    found = between.versus("one", facts["one"], "two", facts["two"])
    assert found.why_not == ()
    assert [s.arm for s in found.shared] == ARMS[:4]
    assert [s.same for s in found.shared] == [True, False, True, True]
    raw = []
    for s in found.shared:
        a, b = (facts[n].scores[s.arm].loc[1:4] for n in ("one", "two"))
        test = reference.ttest_rel(b, a)
        interval = test.confidence_interval(0.95)
        d = s.paired.differences
        assert d.n == 4
        assert (d.mean, d.low, d.high) == pytest.approx(((b - a).mean(), interval.low, interval.high), rel=1e-9)
        raw.append(test.pvalue)
    adjusted = multipletests(raw, method="holm")[1]
    assert [s.paired.p_holm for s in found.shared] == pytest.approx(list(adjusted), rel=1e-9)


def test_what_changed_is_told_by_heading_and_nothing_else(two: dict[str, results.Results]) -> None:
    changes = between.changes({name: r.study for name, r in two.items()})
    assert set(changes) == {"Code", "Design", "Arms"}
    assert changes["Code"] == {
        "git.commit": ["0123456789abcdef", "fedcba"],
        "git.dirty": [True, False],
        "versions.torch": ["2.11.0", "2.12.0"],
    }
    assert changes["Design"] == {"seeds": [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]}
    assert changes["Arms"]["kd"] == ["kd × 0.3", "kd × 0.9"]
    assert changes["Arms"]["channel+spatial"][1] == "not there"
    page = Page(between.render(two))
    assert "Different: code, design, arms. The same: data, split, teacher, machine, command, recipe." in page.text
    assert "“two” shares 4 arms with “one”, credibly different: “kd” (paired t, Holm)." in page.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"teacher": {"ids": {"all": "u" * 64}}}, "their teachers differ"),
        ({"data": {"fingerprint": "g" * 64}}, "their data or split differ"),
        ({"data": {"split_seed": 1}}, "their data or split differ"),
        ({"arms": {"baseline": {"lr": 0.01}}}, "their recipes differ"),
    ],
)
def test_other_teachers_splits_and_recipes_are_not_tested(
    two: dict[str, results.Results], change: dict[str, dict[str, Any]], why: str
) -> None:
    study = two["two"].study
    for key, fields in change.items():
        study[key] = {**study[key], **fields}
    facts = {name: report.gather(r) for name, r in two.items()}
    found = between.versus("one", facts["one"], "two", facts["two"])
    assert found.why_not == (why,)
    for s in found.shared:
        assert pd.isna([s.paired.p, s.paired.p_holm, s.paired.differences.low, s.paired.d_z]).all()
        assert s.paired.differences.mean == pytest.approx(
            (facts["two"].scores[s.arm] - facts["one"].scores[s.arm]).mean()
        )
    assert f"nothing is tested, as {why}" in Page(between.render(two)).text


def test_studies_without_a_shared_arm_or_without_results(tmp_path: Path) -> None:
    one = make_store(tmp_path / "one", ARMS[:2], range(2), accuracy(EFFECTS))
    failed = {(a, s): "failed" for a in ("x", "y") for s in range(2)}
    other = make_store(tmp_path / "two", ["x", "y"], range(2), states=failed)
    page = Page(between.render({"one": results.read(one), "two": results.read(other)}))
    assert "The two share no arm with results" in page.text
    assert "No trial has completed" in page.text


def test_hostile_names_of_studies_and_arms(tmp_path: Path) -> None:
    stores = [results.read(make_store(tmp_path / n, NASTY, range(3))) for n in ("a", "b")]
    text = between.render({"<script>alert(1)</script>": stores[0], "%{x}": stores[1]})
    page = Page(text)
    assert len(page.scripts) == 3
    assert not {"img", "b", "i"} & {tag for tag, _ in page.tags}


# The main table for a paper


@pytest.fixture
def facts(tmp_path: Path) -> report.Facts:
    return report.gather(results.read(make_store(tmp_path / "s", ARMS, range(4), accuracy(EFFECTS))))


def test_caption_states_n_interval_and_correction(facts: report.Facts) -> None:
    said = export.caption(facts)
    for part in (
        "n = 4",
        "mean ± standard deviation",
        "Student's 95 % interval",
        "4 comparisons (Dunnett",
        "12 degrees",
    ):
        assert part in said
    for make in export.FORMATS.values():
        assert "Dunnett" in make(facts)


def test_csv_holds_the_exact_numbers_of_the_page(facts: report.Facts, tmp_path: Path) -> None:
    text = export.comma_separated(facts)
    rows = list(csv.DictReader(io.StringIO(text.split("\n", 2)[2])))
    page, _, _ = built(make_store(tmp_path / "again", ARMS, range(4), accuracy(EFFECTS)))
    for row, shown in zip(rows, page.tables["main-table"], strict=True):
        assert row["arm"] == shown["data-arm"][0]
        for key in ("test_acc_mean", "difference", "difference_low", "p", "p_holm", "d_z", "params"):
            exact = shown[key][1]
            assert (row[key] == "") if exact is None else float(row[key]) == float(exact)
    assert list(pd.read_csv(io.StringIO(text), skiprows=2)["arm"]) == ARMS


def test_tables_escape_names(tmp_path: Path) -> None:
    names = ["baseline", "a & b_c 50% #1 $x$ {y} \\z ~^", "<b>|`x`|</b>\nnext", "=1+1", *NASTY[1:]]
    facts = report.gather(results.read(make_store(tmp_path / "s", names, range(3))))
    latex = export.latex(facts)
    assert r"a \& b\_c 50\% \#1 \$x\$ \{y\} \textbackslash{}z \textasciitilde{}\textasciicircum{}" in latex
    body = latex[latex.index(r"\midrule") : latex.index(r"\bottomrule")]
    assert len(re.findall(r"(?<!\\)&", body)) == 9 * len(names)
    assert body.count(r" \\" + "\n") == len(names)
    markdown = export.markdown(facts).split("\n")
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 11 for line in markdown[: len(names) + 2])
    assert "<" not in re.sub(r"\\<", "", "".join(markdown))
    frame = pd.read_csv(io.StringIO(export.comma_separated(facts)), skiprows=2)
    assert list(frame["arm"]) == names


def test_one_seed_has_no_intervals_in_the_table(tmp_path: Path) -> None:
    facts = report.gather(results.read(make_store(tmp_path / "s", ARMS, [0], accuracy(EFFECTS))))
    assert "interval of the mean" not in export.caption(facts)
    assert "without intervals" in export.caption(facts)
    assert "±" not in export.markdown(facts).split("\n")[3]


# Scripts


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_scripts_write_pages_and_tables(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_store(tmp_path / name / "ablation", ARMS, range(3), accuracy(EFFECTS))
    stores = [str(tmp_path / name / "ablation") for name in ("one", "two")]
    done = script("compare.py", *stores, "--out", str(tmp_path / "compare.html"))
    assert done.returncode == 0, done.stderr
    assert "“two/ablation” shares 5 arms with “one/ablation”" in Page((tmp_path / "compare.html").read_text()).text
    table = script("table.py", stores[0], "--format", "markdown")
    assert table.stdout.startswith("| Arm |")
    done = script("own_page.py", stores[0], str(tmp_path / "own.html"))
    assert done.returncode == 0, done.stderr
    assert len(Page((tmp_path / "own.html").read_text()).figures()) == 2


def test_mistakes_of_a_user_are_one_line(tmp_path: Path) -> None:
    make_store(tmp_path / "one", ARMS, range(2), accuracy(EFFECTS))
    for name, arguments, said in (
        ("compare.py", [str(tmp_path / "one")], "two studies or more"),
        ("compare.py", [str(tmp_path / "one"), str(tmp_path / "none")], "no results in"),
        ("table.py", [str(tmp_path / "none")], "no results in"),
        ("table.py", [str(tmp_path / "one"), "--out", str(tmp_path / "no" / "folder" / "x")], "No such file"),
    ):
        done = script(name, *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_figure_of_the_library_becomes_a_plotly_figure(facts: report.Facts) -> None:
    drawn = compare.draw_differences(compare.differences(facts))
    for theme in ("light", "dark"):
        figure = report.plotly_figure(drawn, theme)
        assert "@" not in figure.to_json()
        assert figure.layout.paper_bgcolor.startswith("#")
