"""Trials as runs of Weights & Biases."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from scl.errors import UserError
from scl.masking import masked_command
from scl.run.trackers.tool import Logged, TrackedTrial, imported
from scl.store.files import Folder
from scl.study.identity import sha256


class WeightsAndBiases:
    """Runs of a project with the study's name; `WANDB_MODE=offline` keeps them in OUT/STUDY/wandb.

    Raises:
        UserError: wandb is not installed, or nobody is logged in.
    """

    def __init__(self, store: Folder) -> None:
        self.wandb = imported("wandb", "wandb")
        self.folder = store.path if store.is_local else None
        self.study = store.path.rpartition("/")[2]
        mode = self.wandb.setup().settings.mode
        if mode not in ("offline", "disabled") and not self.wandb.api.api_key:
            raise UserError("--track wandb: nobody is logged in; run `wandb login`, or set WANDB_MODE=offline")

    def start(self, trial: TrackedTrial) -> Any:
        about = {"study": trial.study, "arm": trial.arm, "seed": trial.seed, "trial_id": trial.trial_id}
        return self.wandb.init(
            project=trial.study,
            id=trial.trial_id[:32],
            resume="allow",
            name=trial.name,
            group=trial.arm[:128],
            tags=[f"study {trial.study}"[:64], f"arm {trial.arm}"[:64], f"seed {trial.seed}"],
            config={**trial.params, **about},
            **self._how(),
        )

    def _how(self) -> dict[str, Any]:
        """How each run starts. The tool keeps the command line among the machine's metadata, which must not hold a
        database's password."""
        credentials = masked_command(sys.argv) != " ".join(sys.argv)
        settings = self.wandb.Settings(silent=True, console="off", x_disable_meta=credentials)
        return {"dir": self.folder, "reinit": "create_new", "settings": settings}

    def log(self, run: Any, rows: Sequence[Logged]) -> None:
        for row in rows:  # its own process sends them on
            run.log({**row.values, "epoch": row.step, "_timestamp": row.at}, step=row.step)

    def attach(self, run: Any, name: str, content: bytes) -> None:
        self._attach(run, f"student-{run.id}", "model", name, content)

    def attach_page(self, content: bytes) -> None:
        """To a run of its own, since files come from runs."""
        run = self.wandb.init(
            project=self.study, id=f"page-{sha256(self.study)[:32]}", resume="allow", name="page of the study",
            job_type="page", **self._how(),
        )  # fmt: skip
        self._attach(run, "page", "report", "report.html", content)
        run.finish()

    def _attach(self, run: Any, artifact: str, kind: str, name: str, content: bytes) -> None:
        made = self.wandb.Artifact(artifact, type=kind)
        with made.new_file(name, mode="wb") as file:
            file.write(content)
        run.log_artifact(made)

    def end(self, run: Any, state: str, error: str | None, values: Mapping[str, float]) -> None:
        run.summary.update({"state": state, **({"error": error[-4000:]} if error else {})})
        run.finish(exit_code=1 if state == "failed" else 0)
