"""The main table: a row for each arm, and numbers only where the data support them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scl.report.facts import gather
from scl.report.main_table import metric_heading, summary
from scl.store.results import read_results
from scl.store.study_file import read_study, write_study
from tests.support.synthetic import ARMS, EFFECTS, accuracy, gathered, make_store


def test_each_row_holds_what_the_comparisons_found(tmp_path: Path) -> None:
    facts = gathered(make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS)))
    table = summary(facts).set_index("arm")
    assert list(table.index) == list(facts.arms)
    assert metric_heading(facts) == "Accuracy, %"
    assert table["test_acc_mean"].to_dict() == pytest.approx(facts.scores.mean().to_dict())
    assert table.loc["baseline", ["difference", "p", "p_model", "p_holm", "d_z"]].isna().all()
    for arm, found in facts.contrasts.items():
        row = table.loc[arm]
        assert (row["n"], row["pairs"]) == (3, found.n)
        assert row[["difference", "difference_low", "difference_high", "p"]].tolist() == [
            found.estimate, found.low, found.high, found.p,
        ]  # fmt: skip
        assert row["p_holm"] == facts.paired[arm].p_holm
    assert "file_bytes" not in table


def test_one_seed_has_a_mean_and_no_interval(tmp_path: Path) -> None:
    table = summary(gathered(make_store(tmp_path, ARMS[:3], range(1), accuracy(EFFECTS))))
    assert table["test_acc_mean"].notna().all()
    assert (
        table[["test_acc_sd", "test_acc_low", "test_acc_high", "difference_low", "p", "p_model"]].isna().all(axis=None)
    )


def test_the_size_of_a_file_is_a_column_where_the_study_bounds_it(tmp_path: Path) -> None:
    store = make_store(tmp_path, ARMS[:2], range(2), accuracy(EFFECTS))
    write_study(store, {**read_study(store), "constraints": {"file_bytes": 1e6}})
    results = read_results(store)
    table = summary(gather(replace(results, trials=results.trials.assign(file_bytes=5000))))
    assert table["file_bytes"].tolist() == [5000, 5000]
