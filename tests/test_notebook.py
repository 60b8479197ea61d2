"""A notebook: define a study, run it inline, show the table and a figure, change an arm, run again."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = [
    """
import scl
study = scl.Study(
    "notebook", "Does KD help?",
    arms={"baseline": {}, "kd": {"losses": {"kd": 0.9}, "ce": 0.1}},
    base=scl.Config(model="plain3", width=0.125, epochs=2, batch_size=32, lr=0.05),
    teacher=scl.Config(model="plain5", width=0.125, epochs=2, batch_size=32, lr=0.05),
)
results = scl.run(study, seeds=2, limit=100, inline=True, out="OUT")
results
""",
    "results.summary()",
    'results.figure("verdict").to_dict()["data"][0]["type"]',
    """
from dataclasses import replace
study = replace(study, arms={**study.arms, "kd": {"losses": {"kd": 2.0}}})
results = scl.run(study, seeds=2, limit=100, inline=True, out="OUT")
print(len(results.trials), sorted(results.planned()["param.weight.kd"].dropna().unique().tolist()))
""",
    """
try:
    scl.run(study, sedes=3)
except scl.UserError as error:
    print(error)
""",
]


@pytest.mark.slow
def test_a_notebook_runs_twice_and_shows_a_table_and_a_figure(tmp_path) -> None:  # type: ignore[no-untyped-def]
    cells = [nbformat.v4.new_code_cell(cell.replace("OUT", str(tmp_path))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    shown = [cell["outputs"] for cell in notebook.cells]
    first = {kind for output in shown[0] if "data" in output for kind in output["data"]}
    assert "text/html" in first
    said = "".join(output.get("text", "") for output in shown[0])
    assert "[4/4]" in said  # progress
    assert "test_acc_mean" in str(shown[1])
    assert "'" in str(shown[2][-1]["data"]["text/plain"])
    assert "6 [2.0]" in "".join(output.get("text", "") for output in shown[3])  # only the changed arm trains again
    assert "did you mean 'seeds'" in "".join(output.get("text", "") for output in shown[4])
