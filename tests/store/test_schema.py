"""The columns of the tables."""

from __future__ import annotations

from datetime import timedelta

from scl.store.schema import EPOCHS, PREDICTIONS, TRIALS, now, widened


def test_the_columns_are_those_that_scripts_rely_on() -> None:
    """Pinned: stores of other versions have these columns, and scripts read them by name."""
    assert TRIALS.names == [
        "trial_id", "study", "arm", "config_id", "seed", "state", "error", "config_json", "teacher_id",
        "teacher_test_acc", "val_acc", "test_acc", "test_acc_at_best_val", "test_acc_best", "test_acc5", "test_loss",
        "agreement", "teacher_kl", "ece", "ece_floor", "gap_closed", "test_acc_muted", "params", "macs", "latency_ms",
        "epochs", "best_epoch", "train_seconds", "images_per_second", "device", "cohort_size", "restarts", "number",
        "started", "ended", "run", "balanced_acc", "macro_f1", "teacher_balanced_acc", "teacher_macro_f1",
        "teacher_test_acc5", "teacher_test_loss", "val_balanced_acc", "val_macro_f1", "val_acc5", "val_loss", "chance",
        "file_bytes", "logits_bytes", "energy_joules", "energy_source",
    ]  # fmt: skip
    assert EPOCHS.names == [
        "trial_id", "epoch", "lr", "train_loss", "train_acc", "val_loss", "val_acc", "test_acc", "val_balanced_acc",
        "val_macro_f1", "val_acc5",
    ]  # fmt: skip
    assert set(map(str, EPOCHS.types[2:])) == {"float"}
    assert str(PREDICTIONS.field("predicted").type.value_type) == "uint16"


def test_columns_of_configurations_and_terms_are_added_with_their_types() -> None:
    rows = [{"trial_id": "t", "param.k": 1, "param.lr": 0.1}, {"param.name": "a", "param.on": True, "term.kd": 1}]
    schema = widened(EPOCHS, [*rows, {"weighted.kd": None, "other": 1}])
    added = {field.name: str(field.type) for field in list(schema)[len(EPOCHS) :]}
    assert added == {
        "param.k": "int64", "param.lr": "double", "param.name": "string", "param.on": "bool",
        "term.kd": "float", "weighted.kd": "float",
    }  # fmt: skip


def test_now_is_in_utc() -> None:
    assert now().utcoffset() == timedelta(0)
