"""Trials shown in the tool that its users have open: TensorBoard, MLflow or Weights & Biases.

A trial is a run of the tool: its configuration are the parameters, its study, arm and seed are tags, its epochs are
steps. All is sent from the driver's process, so workers need none of the tools, and nothing is read back: the store
stays the record. A trial that goes on after a stop goes on in its run. What the tools do is theirs: addresses,
tokens and offline modes are set as they document it (`MLFLOW_TRACKING_URI`, `WANDB_MODE`, …).
"""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from scl.errors import UserError, first_line, unknown
from scl.storage import Folder

STATES = {"completed": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "stopped": "KILLED"}  # → MLflow's


@dataclass(frozen=True)
class Run:
    """What a tool is told of a trial before its first epoch."""

    trial_id: str
    study: str
    arm: str
    seed: int
    params: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.arm} · seed {self.seed}"


class Tool(Protocol):
    """A tracker's own client. `run` in its methods is what `start` gave."""

    def start(self, run: Run) -> Any: ...
    def log(self, run: Any, step: int, values: Mapping[str, float]) -> None: ...
    def end(self, run: Any, state: str, error: str | None, values: Mapping[str, float]) -> None: ...


class Tracker:
    """Passes on what happens to trials. A tool that fails is reported once and then left alone: training goes on."""

    def __init__(self, name: str = "", tool: Tool | None = None) -> None:
        self.name, self.tool = name, tool
        self.runs: dict[str, Any] = {}
        self.steps: dict[str, int] = {}
        self.over: set[str] = set()

    def epoch(self, columns: Mapping[str, Any] | None, row: Mapping[str, Any]) -> None:
        """A trial's row of epochs.parquet; `columns` are what is known of the trial, None of a teacher."""
        if self.tool is None or columns is None:
            return
        with self._guarded() as tool:
            run = self._run(tool, columns)
            self.steps[columns["trial_id"]] = row["epoch"]
            tool.log(run, row["epoch"], _numbers(row, leave_out=("epoch",)))

    def ended(self, columns: Mapping[str, Any] | None, metrics: Mapping[str, Any]) -> None:
        """A trial's end; `metrics` are its columns of trials.parquet."""
        if self.tool is None or columns is None or columns["trial_id"] in self.over:
            return
        self.over.add(columns["trial_id"])
        with self._guarded() as tool:
            run = self._run(tool, columns)
            # Those of the last epoch are there already.
            values = _numbers(metrics, leave_out=("val_acc", "test_acc"))
            if values:
                tool.log(run, self.steps.get(columns["trial_id"], metrics.get("epochs") or 0), values)
            tool.end(run, metrics["state"], metrics.get("error"), _numbers(metrics))
            del self.runs[columns["trial_id"]]

    def close(self) -> None:
        """End the runs of trials that a stop has cut off; the next start goes on with them."""
        for run in list(self.runs.values()):
            if self.tool is not None:
                with self._guarded() as tool:
                    tool.end(run, "stopped", None, {})
        self.runs = {}

    def _run(self, tool: Tool, columns: Mapping[str, Any]) -> Any:
        trial_id = columns["trial_id"]
        if trial_id not in self.runs:
            named = {k.removeprefix("param."): v for k, v in columns.items() if k.startswith("param.")}
            known = {k: columns[k] for k in ("config_id", "teacher_id", "teacher_test_acc", "params", "macs")}
            self.runs[trial_id] = tool.start(
                Run(trial_id, columns["study"], columns["arm"], columns["seed"], {**named, **known})
            )
        return self.runs[trial_id]

    @contextmanager
    def _guarded(self) -> Iterator[Tool]:
        assert self.tool is not None
        try:
            yield self.tool
        except Exception as error:  # whatever a tool, its server or the network comes up with
            self.tool = None
            print(
                f"warning: --track {self.name} stopped ({type(error).__name__}: {first_line(error)}); "
                "training goes on, and the store has every number",
                file=sys.stderr,
            )


def _numbers(values: Mapping[str, Any], leave_out: tuple[str, ...] = ()) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if name not in leave_out and isinstance(value, (int, float)) and math.isfinite(value)
    }


@contextmanager
def tracking(name: str | None, store: Folder) -> Iterator[Tracker]:
    """The tracker of that name, for the length of a run; one that does nothing where `name` is None.

    Raises:
        UserError: the tool is not installed, or cannot be reached: before anything has trained.
    """
    if name is not None and name not in TOOLS:
        raise UserError(f"--track: {unknown('tracker', name, TOOLS)}")
    tracker = Tracker(name, TOOLS[name](store)) if name is not None else Tracker()
    try:
        yield tracker
    finally:
        tracker.close()


def _missing(name: str, error: ModuleNotFoundError) -> UserError:
    return UserError(f"--track {name}: {error.name} is not installed; pip install 'scl-studies[{name}]'")


# ------------------------------------------------------------------------------------------------------- the tools


class TensorBoard:
    """Event files in OUT/STUDY/tensorboard, a folder a trial: `tensorboard --logdir OUT/STUDY/tensorboard`."""

    def __init__(self, store: Folder) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise _missing("tensorboard", error) from None
        if not store.is_local:
            raise UserError(f"--track tensorboard writes files: it needs an --out on a disk, got {store}")
        self.writer, self.folder = SummaryWriter, f"{store.path}/tensorboard"

    def start(self, run: Run) -> Any:
        name = re.sub(r"[^A-Za-z0-9._+=-]+", "_", run.arm)
        writer = self.writer(f"{self.folder}/{name}-seed{run.seed}-{run.trial_id[:8]}", flush_secs=10)
        return run, writer

    def log(self, run: Any, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            run[1].add_scalar(name, value, step)

    def end(self, run: Any, state: str, error: str | None, values: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import hparams

        about, writer = run
        # Written by hand, for `add_hparams` would put them into a folder of their own.
        settings = {**about.params, "arm": about.arm, "seed": about.seed, "study": about.study, "state": state}
        shown = {k: values[k] for k in ("val_acc", "test_acc", "agreement") if k in values}
        for summary in hparams(settings, shown):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        if error:
            writer.add_text("error", error)
        writer.close()


class MLflow:
    """Runs of the experiment that is named as the study, on the server that `MLFLOW_TRACKING_URI` names."""

    def __init__(self, store: Folder) -> None:
        # Its own defaults would hold a study up for many minutes when the server goes away.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        try:
            import mlflow
        except ModuleNotFoundError as error:
            raise _missing("mlflow", error) from None
        self.mlflow, self.client = mlflow, mlflow.MlflowClient()
        name = store.path.rpartition("/")[2]
        try:
            found = self.client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage == "deleted":
                raise RuntimeError(f"the experiment {name!r} was deleted there; restore it, or remove it for good")
            self.experiment = found.experiment_id if found else self.client.create_experiment(name)
        except Exception as error:
            where = re.sub(r"//[^/@]*@", "//…@", mlflow.get_tracking_uri())
            raise UserError(
                f"--track mlflow: {where} cannot be used ({first_line(error)[:200]}); "
                "set MLFLOW_TRACKING_URI to a server that runs"
            ) from None

    def start(self, run: Run) -> str:
        known = self.client.search_runs([self.experiment], f"tags.`scl.trial_id` = '{run.trial_id}'", max_results=1)
        if known:
            identity: str = known[0].info.run_id
            self.client.update_run(identity, status="RUNNING")
            return identity
        tags = {"scl.trial_id": run.trial_id, "study": run.study, "arm": run.arm, "seed": str(run.seed)}
        identity = self.client.create_run(self.experiment, run_name=run.name, tags=tags).info.run_id
        param = self.mlflow.entities.Param
        self.client.log_batch(identity, params=[param(self._name(k), str(v)) for k, v in run.params.items()])
        return identity

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        metric = self.mlflow.entities.Metric
        self.client.log_batch(run, metrics=[metric(self._name(k), v, now, step) for k, v in values.items()])

    def end(self, run: str, state: str, error: str | None, values: Mapping[str, float]) -> None:
        if error:
            self.client.set_tag(run, "error", error[-4000:])
        self.client.set_terminated(run, STATES[state])

    @staticmethod
    def _name(name: str) -> str:
        return name.replace("+", "-")  # of a term's name all but this is allowed


class WeightsAndBiases:
    """Runs of the project that is named as the study; `WANDB_MODE=offline` keeps them in OUT/STUDY/wandb."""

    def __init__(self, store: Folder) -> None:
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise _missing("wandb", error) from None
        self.wandb = wandb
        self.folder = store.path if store.is_local else None
        mode = wandb.setup().settings.mode
        if mode not in ("offline", "disabled") and not wandb.api.api_key:
            raise UserError("--track wandb: nobody is logged in; run `wandb login`, or set WANDB_MODE=offline")

    def start(self, run: Run) -> Any:
        return self.wandb.init(
            project=run.study,
            id=run.trial_id[:32],
            resume="allow",
            name=run.name,
            group=run.arm[:128],
            tags=[f"study {run.study}"[:64], f"arm {run.arm}"[:64], f"seed {run.seed}"],
            config={**run.params, "study": run.study, "arm": run.arm, "seed": run.seed, "trial_id": run.trial_id},
            dir=self.folder,
            reinit="create_new",
            settings=self.wandb.Settings(silent=True, console="off"),
        )

    def log(self, run: Any, step: int, values: Mapping[str, float]) -> None:
        run.log({**values, "epoch": step}, step=step)

    def end(self, run: Any, state: str, error: str | None, values: Mapping[str, float]) -> None:
        run.summary.update({"state": state, **({"error": error[-4000:]} if error else {})})
        run.finish(exit_code=1 if state == "failed" else 0)


TOOLS: dict[str, Callable[[Folder], Tool]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}
