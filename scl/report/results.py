"""The results of a study for Python and notebooks: its rows, main table, verdict and figures."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from scl.errors import UserError, unknown
from scl.report.blocks import Panel, Plot, Table
from scl.report.facts import Facts, gather
from scl.report.findings import verdict
from scl.report.formatting import plural
from scl.report.main_table import summary
from scl.report.questions import PANELS
from scl.report.questions.table import main_table
from scl.report.registered import said
from scl.report.theme import plotly_figure
from scl.store import results as stored
from scl.store.files import Folder, open_folder

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, repr=False, eq=False)
class Results(stored.Results):
    """What a study has stored. A notebook shows the verdict and the main table.

    Attributes:
        trials: a row for each trial, all that the store has.
        epochs: a row for each trial and epoch.
        study: the content of study.json: plan, command, data, versions.
        damaged: names of damaged files that were set aside.
        remarks: what is wrong with the store's files, a sentence for each.
        store: the folder that they are from.
        running: what the live run of this store does; None if nothing runs.

    Example:
        import scl

        results = scl.load("results/ablation")
        done = results.trials[results.trials["state"] == "completed"]
        print(done.groupby("arm")["test_acc"].agg(["count", "mean", "std"]))
    """

    @functools.cached_property
    def facts(self) -> Facts:
        """The numbers behind the page, computed once."""
        return gather(self)

    def summary(self) -> pd.DataFrame:
        """The main table, a row for each arm; accuracies are fractions.

        Returns:
            Columns: `arm`, `n`; `METRIC_mean`, `_sd`, `_low`, `_high` (Student's 95 % interval); `pairs`, `difference`,
            `difference_low`, `_high` (from the baseline, simultaneous interval), `p`; `p_model`, `p_holm`, `d_z`; means
            of `agreement`, `params`, `macs`, `latency_ms`. NaN where the data do not support a number.

        Example:
            import scl

            table = scl.load("results/ablation").summary()
            print(table[["arm", "n", "test_acc_mean", "difference", "difference_low", "difference_high"]])
        """
        return summary(self.facts)

    def verdict(self) -> str:
        """The arm that won, by how much, and whether that is significant, in plain text.

        What the study declared before the run comes first, a line each.

        Example:
            import scl

            print(scl.load("results/ablation").verdict())
        """
        return "\n".join([*said(self.facts), verdict(self.facts)])

    def figure(self, name: str, number: int = 0, theme: str = "light") -> go.Figure:
        """A figure of the page as a Plotly figure.

        Args:
            name: a panel (`verdict`, `against-baseline`, `seeds`, `pairs`, `curves`, …) or a plot of a panel (`ranks`).
            number: which of its figures, counted from 0.
            theme: `light` or `dark`.

        Raises:
            UserError: the page of this study has no such figure; the message names the valid ones.
            ModuleNotFoundError: Plotly is not installed.

        Example:
            import scl

            figure = scl.load("results/ablation").figure("verdict")
            figure.write_html("verdict.html")
        """
        if theme not in ("light", "dark"):
            raise UserError(unknown("theme", theme, ["light", "dark"]))
        if not isinstance(name, str):
            raise UserError(f"a figure is asked for by its name, as in figure('verdict', 0), got {name!r}")
        wanted = name.replace("_", "-")
        valid: list[str] = []
        for make in PANELS:
            panel = make(self.facts)
            plots = [block for block in panel.blocks if isinstance(block, Plot)]
            if panel.id == wanted:
                return plotly_figure(_pick(panel, plots, number), theme)
            for plot in plots:
                if plot.id == wanted:
                    return plotly_figure(_pick(panel, [plot], number), theme)
            valid += dict.fromkeys([panel.id, *(plot.id for plot in plots)]) if plots else []
        raise UserError(unknown("figure", name, valid))

    def __repr__(self) -> str:
        done = int((self.trials["state"] == "completed").sum())
        return f"<Results of {self.study.get('study')!r}: {plural(len(self.trials), 'trial')}, {done} completed>"

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{escape(line)}</p>" for line in self.verdict().splitlines())
        return lines + _html_table(main_table(self.facts))


def load(path: str) -> Results:
    """The results of a study, also while it runs.

    Args:
        path: the study's folder or URI, as in `results/ablation` or `s3://bucket/results/ablation`.

    Raises:
        UserError: there is no store.

    Example:
        import scl

        results = scl.load("results/ablation")
        print(results.verdict())
    """
    return read(open_folder(path, reading=True))


def read(store: Folder) -> Results:
    """The results in a folder that is open. Raises UserError as `load` does."""
    found = stored.read_results(store)
    return Results(found.trials, found.epochs, found.study, found.damaged, found.remarks, store, found.running)


def _pick(panel: Panel, plots: list[Plot], number: int) -> dict[str, object]:
    figures = [figure for plot in plots for figure in plot.figures]
    if not figures:
        raise UserError(f"{panel.id!r} has no figure in this study: {panel.answer}")
    if not isinstance(number, int) or not 0 <= number < len(figures):
        raise UserError(f"number must be 0 to {len(figures) - 1} for {panel.id!r}, got {number!r}")
    return figures[number]


def _html_table(table: Table) -> str:
    groups = "".join(f'<th colspan="{span}">{escape(head)}</th>' for head, span in table.groups)
    heads = "".join(f'<th title="{escape(column.hint)}">{escape(column.label)}</th>' for column in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(c.shown)}</td>' for c in row.cells)}</tr>" for row in table.rows)
    return f"<table><thead><tr>{groups}</tr><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
