"""Trials as event files of TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scl.errors import UserError
from scl.run.trackers.tool import Logged, TrackedTrial, imported
from scl.store.files import Folder
from scl.store.output import file_name


class TensorBoard:
    """Event files in OUT/STUDY/tensorboard, a folder a trial: `tensorboard --logdir OUT/STUDY/tensorboard`.

    Raises:
        UserError: tensorboard is not installed, or the store is not on a disk.
    """

    def __init__(self, store: Folder) -> None:
        self.writer = imported("tensorboard", "torch.utils.tensorboard").SummaryWriter
        if not store.is_local:
            raise UserError(f"--track tensorboard writes files, so it needs an --out on a disk; got {store}")
        self.folder = f"{store.path}/tensorboard"

    def start(self, trial: TrackedTrial) -> Any:
        writer = self.writer(
            f"{self.folder}/{file_name(trial.arm)}-seed{trial.seed}-{trial.trial_id[:8]}", flush_secs=10
        )
        return trial, writer

    def log(self, run: Any, rows: Sequence[Logged]) -> None:
        _, writer = run
        for row in rows:
            for name, value in row.values.items():
                writer.add_scalar(name, value, row.step, row.at)

    def attach(self, run: Any, name: str, content: bytes) -> None:
        pass  # the files are beside its own, in the store

    def attach_page(self, content: bytes) -> None:
        pass

    def end(self, run: Any, state: str, error: str | None, values: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import hparams  # noqa: PLC0415

        trial, writer = run
        # `writer.add_hparams` would write these into a separate folder.
        settings = {**trial.params, "arm": trial.arm, "seed": trial.seed, "study": trial.study, "state": state}
        shown = {k: values[k] for k in ("val_acc", "test_acc", "agreement") if k in values}
        for summary in hparams(settings, shown):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        if error:
            writer.add_text("error", error)
        writer.close()
