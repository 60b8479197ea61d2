"""Trials as runs of MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from scl.errors import UserError, first_line
from scl.masking import masked_value, without_values
from scl.run.trackers.tool import Logged, TrackedTrial, imported
from scl.store.files import Folder

STATES = {"completed": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "stopped": "KILLED"}  # → MLflow's
PAGE_TAG, PAGE_RUN = "scl.study_page", "page of the study"
AT_ONCE, LONGEST_VALUE = 100, 6000  # parameters that MLflow takes in a call, and characters of one
METRICS_AT_ONCE = 1000  # that it takes in a call
# Variables to set if they are not: MLflow's defaults would delay a study by many minutes when the server is gone.
ENVIRONMENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class MLflow:
    """Runs of an experiment with the study's name, on the server at `MLFLOW_TRACKING_URI`.

    Raises:
        UserError: mlflow is not installed, or the server cannot be used.
    """

    def __init__(self, store: Folder) -> None:
        self.mlflow = imported("mlflow", "mlflow")
        self.client = self.mlflow.MlflowClient()
        name = store.path.rpartition("/")[2]
        try:
            found = self.client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage == "deleted":
                raise RuntimeError(f"the experiment {name!r} was deleted there; restore it or delete it permanently")
            self.experiment = found.experiment_id if found else self.client.create_experiment(name)
        except Exception as error:
            uri = self.mlflow.get_tracking_uri()
            reason = without_values(first_line(error), [uri])[:200]
            raise UserError(
                f"--track mlflow: {masked_value(uri)} cannot be used ({reason}); "
                "set MLFLOW_TRACKING_URI to a running server"
            ) from None

    def start(self, trial: TrackedTrial) -> str:
        known = self._known("scl.trial_id", trial.trial_id)
        if known:
            self.client.update_run(known, status="RUNNING")
            return known
        tags = {"scl.trial_id": trial.trial_id, "study": trial.study, "arm": trial.arm, "seed": str(trial.seed)}
        run_id: str = self.client.create_run(self.experiment, run_name=trial.name, tags=tags).info.run_id
        param = self.mlflow.entities.Param
        params = [param(_allowed(k), str(v)[:LONGEST_VALUE]) for k, v in trial.params.items()]
        for start in range(0, len(params), AT_ONCE):
            self.client.log_batch(run_id, params=params[start : start + AT_ONCE])
        return run_id

    def log(self, run: str, rows: Sequence[Logged]) -> None:
        metric = self.mlflow.entities.Metric
        metrics = [
            metric(_allowed(name), value, int(row.at * 1000), row.step)
            for row in rows
            for name, value in row.values.items()
        ]
        for start in range(0, len(metrics), METRICS_AT_ONCE):
            self.client.log_batch(run, metrics=metrics[start : start + METRICS_AT_ONCE])

    def attach(self, run: str, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, name)
            file.write_bytes(content)
            self.client.log_artifact(run, str(file))

    def attach_page(self, content: bytes) -> None:
        """To a run of its own, since MLflow keeps files with runs alone."""
        run = self._known(PAGE_TAG, "page")
        if not run:
            run = self.client.create_run(self.experiment, run_name=PAGE_RUN, tags={PAGE_TAG: "page"}).info.run_id
        self.attach(run, "report.html", content)
        self.client.set_terminated(run, STATES["completed"])

    def _known(self, tag: str, value: str) -> str:
        """The id of the run with this tag; '' if there is none."""
        found = self.client.search_runs([self.experiment], f"tags.`{tag}` = '{value}'", max_results=1)
        return str(found[0].info.run_id) if found else ""

    def end(self, run: str, state: str, error: str | None, values: Mapping[str, float]) -> None:
        if error:
            self.client.set_tag(run, "error", error[-4000:])
        self.client.set_terminated(run, STATES[state])


def _allowed(name: str) -> str:
    """A name that MLflow allows: of the characters in a term's name, it refuses only `+`."""
    return name.replace("+", "-")
