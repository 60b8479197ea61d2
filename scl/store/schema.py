"""The columns of the tables, with their types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1


def _fields(kind: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, kind) for name in names]


# Also a typed column `param.*` for each field of the configuration.
TRIALS = pa.schema(
    [
        *_fields(pa.string(), "trial_id", "study", "arm", "config_id"),
        *_fields(pa.int64(), "seed"),
        *_fields(pa.string(), "state", "error", "config_json", "teacher_id"),  # state: completed, pruned, failed
        *_fields(
            pa.float64(),
            "teacher_test_acc",
            "val_acc",  # at the last epoch reached, as test_acc; a completed trial with patience: at best_epoch
            "test_acc",
            "test_acc_at_best_val",
            "test_acc_best",  # chosen on the test set itself: optimistic
            "test_acc5",
            "test_loss",
            "agreement",  # share of test images on which student and teacher predict the same class
            "teacher_kl",  # mean KL(teacher ‖ student) on the test set, in nats
            "ece",  # expected calibration error on the test set, 15 equal bins
            "ece_floor",  # what `ece` would be on these images if the confidences were the true probabilities
            "gap_closed",  # (trial − baseline) / (teacher − baseline) by the study's metric, same seed
            "test_acc_muted",  # with self-taught channels set to zero; null without such channels
        ),
        *_fields(pa.int64(), "params", "macs"),
        *_fields(pa.float64(), "latency_ms"),
        *_fields(pa.int64(), "epochs", "best_epoch"),
        *_fields(pa.float64(), "train_seconds", "images_per_second"),
        *_fields(pa.string(), "device"),
        # number: position in the order of a search's suggestions; null for other trials
        *_fields(pa.int64(), "cohort_size", "restarts", "number"),
        *_fields(pa.timestamp("ms", tz="UTC"), "started", "ended"),
        # which run of this store wrote the row, from 1, whatever clocks say; null in rows of earlier versions
        *_fields(pa.int64(), "run"),
        *_fields(
            pa.float64(),
            "balanced_acc",  # on test images: the mean over classes of the share that is right
            "macro_f1",  # on test images: the mean over classes of F1
            "teacher_balanced_acc",
            "teacher_macro_f1",
            "teacher_test_acc5",
            "teacher_test_loss",
            "val_balanced_acc",  # these four at the last epoch reached, as val_acc
            "val_macro_f1",
            "val_acc5",
            "val_loss",
            "chance",  # the share of the largest class in the test part
        ),
        # file_bytes: of parameters and buffers, as a file of weights holds them. logits_bytes: of logits.parquet, as it
        # was written (null: not stored)
        *_fields(pa.int64(), "file_bytes", "logits_bytes"),
        # energy_joules: what the meter of its processor or GPU counted while it trained, its share of its cohort's
        # (null: no meter). energy_source: RAPL or NVML
        *_fields(pa.float64(), "energy_joules"),
        *_fields(pa.string(), "energy_source"),
    ]
)

# Also float32 columns for each loss term: its mean value, plain (`term.NAME`) and weighted (`weighted.NAME`); of a term
# with a share also its measured share of the gradient in the first step (`share.NAME`), and the weight that it comes to
# (`weight.NAME`, at the end of the epoch).
OF_TERMS = ("term.", "weighted.", "share.", "weight.")
EPOCHS = pa.schema(
    [
        *_fields(pa.string(), "trial_id"),
        *_fields(pa.int32(), "epoch"),  # from 1
        *_fields(pa.float32(), "lr", "train_loss", "train_acc", "val_loss", "val_acc", "test_acc"),
        *_fields(pa.float32(), "val_balanced_acc", "val_macro_f1", "val_acc5"),
    ]
)

PREDICTIONS = pa.schema([pa.field("trial_id", pa.string()), pa.field("predicted", pa.list_(pa.uint16()))])

# Columns that tables of earlier versions do not have.
ADDED = {
    "trials": {
        "run", "ece_floor", "balanced_acc", "macro_f1", "teacher_balanced_acc", "teacher_macro_f1",
        "teacher_test_acc5", "teacher_test_loss", "val_balanced_acc", "val_macro_f1", "val_acc5", "val_loss", "chance",
        "file_bytes", "logits_bytes", "energy_joules", "energy_source",
    },
    "epochs": {"val_balanced_acc", "val_macro_f1", "val_acc5"},
    "predictions": set[str](),
}  # fmt: skip

SCHEMAS = {"trials": TRIALS, "epochs": EPOCHS, "predictions": PREDICTIONS}


def now() -> datetime:
    """The time for the columns `started` and `ended`."""
    return datetime.now(UTC)


def widened(schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> pa.Schema:
    """The schema, plus the columns `param.*` (typed) and those of loss terms (float32) of the rows."""
    extra: dict[str, pa.DataType] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith("param."):
                extra[name] = param_type(value)
            elif name.startswith(OF_TERMS):
                extra[name] = pa.float32()
    return pa.schema([*schema, *[pa.field(name, kind) for name, kind in extra.items()]])


def param_type(value: Any) -> pa.DataType:
    """The type of a column `param.*` that holds this value; text if no type of a number does."""
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64() if -(2**63) <= value < 2**63 else pa.string()
    return pa.float64() if isinstance(value, float) else pa.string()


def param_text(value: Any) -> str:
    """The value in a column `param.*` of text, beside the words of other arms: `2`, `0.5`, `true`, `null`, `word`."""
    return value if isinstance(value, str) else json.dumps(value)
