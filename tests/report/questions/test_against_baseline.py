"""Differences from the baseline, computed again from Parquet."""

from __future__ import annotations

import re

import pytest

from scl.report.questions import against_baseline
from scl.report.results import Results
from tests.support.pages import Page
from tests.support.synthetic import ARMS


def test_differences_by_seed(plain: tuple[Page, str, Results]) -> None:
    study = plain[2]
    wide = study.trials[study.trials["state"] == "completed"].pivot(index="seed", columns="arm", values="test_acc")
    rows = {row.arm: row for row in against_baseline.differences(study.facts).rows}
    assert set(rows) == set(ARMS[1:])
    assert rows["kd"].seeds == pytest.approx((100 * (wide["kd"] - wide["baseline"])).dropna().to_dict())


def test_the_answer_names_significant_arms_and_the_correlation_of_arms(plain: tuple[Page, str, Results]) -> None:
    facts = plain[2].facts
    panel = against_baseline.panel(facts)
    above = re.search(r"above the baseline: (.*?);", panel.answer)
    assert above
    assert set(re.findall("“(.*?)”", above[1])) == {c.arm for c in facts.contrasts.values() if c.low > 0}
    assert re.search(r"Seeds affect arms alike \(r = 0\.\d\d\), so pairing narrows the intervals\.", panel.answer)
