"""Teachers in their folders, from a user's file, and from published weights."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scl.errors import UserError
from scl.models.build import build_model
from scl.models.networks import build_student
from scl.plan import teachers as module
from scl.plan.context import RunContext, data_of
from scl.plan.given import open_given
from scl.plan.plan import Plan
from scl.plan.teachers import (
    TEACHER_FILE,
    evaluate_and_save,
    import_teacher,
    imported_file,
    load_teacher,
    save_teacher,
    start_from_pretrained,
    teacher_hashes,
)
from scl.store.files import Folder
from scl.study.config import Config
from scl.train import checkpoint
from tests.support.checkpoints import BAD, GOOD
from tests.support.commands import ROOT, ablation
from tests.support.plans import put_teachers, tiny_plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return tiny_plan(tmp_path / "out", "--seeds", "1")


def fresh(plan: Plan, seed: int = 0) -> dict[str, Tensor]:
    """Weights of an untrained teacher."""
    return build_student(plan.teacher, data_of(plan.context), seed).state_dict()


def only_id(plan: Plan) -> str:
    (identity,) = plan.context.jobs
    return identity


# --- stored teachers ------------------------------------------------------------------------------------------------


def test_a_teacher_comes_back_with_its_logits_and_its_accuracy(plan: Plan) -> None:
    assert load_teacher(plan.context, only_id(plan), plan.teacher) is None
    accuracies = put_teachers(plan)
    found = load_teacher(plan.context, only_id(plan), plan.teacher)
    assert found is not None
    teacher, record = found
    assert teacher.config == plan.teacher
    assert teacher.weights.keys() == fresh(plan).keys()
    assert all(torch.equal(teacher.weights[name], tensor) for name, tensor in fresh(plan).items())
    model = build_student(plan.teacher, data_of(plan.context), 1).eval()
    model.load_state_dict(teacher.weights)
    data = data_of(plan.context)
    images = (data.test.images.float() / 255 - data.mean.view(1, -1, 1, 1)) / data.std.view(1, -1, 1, 1)
    with torch.no_grad():
        logits = model(images)
    torch.testing.assert_close(teacher.test_logits, logits, atol=1e-4, rtol=1e-4)
    right = int((teacher.test_logits.argmax(1) == data.test.labels).sum())
    assert record["metrics"]["test_acc"] == accuracies[only_id(plan)] == right / len(data.test.labels)


def test_a_teacher_is_read_once_a_node(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "node")
    put_teachers(plan)
    identity, read = only_id(plan), list[str]()
    hashes = teacher_hashes(plan.context, dict.fromkeys([identity, "another"], plan.teacher))
    assert list(hashes) == [f"{identity}/{TEACHER_FILE}"]
    context, plain = replace(plan.context, teacher_hashes=hashes), Folder.read

    def counted(self: Folder, name: str) -> bytes:
        if name == TEACHER_FILE:
            read.append(name)
        return plain(self, name)

    monkeypatch.setattr(Folder, "read", counted)
    found = [load_teacher(context, identity, plan.teacher) for _ in range(3)]
    assert len(read) == 1
    for teacher, _ in filter(None, found):
        assert all(torch.equal(teacher.weights[name], tensor) for name, tensor in fresh(plan).items())
    assert None not in found
    # Another node, and another teacher by now: what trains from it would not match its columns.
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "another node")
    files = context.teacher_files(identity)
    content = plain(files, TEACHER_FILE)
    save_teacher(files, fresh(plan, 1), torch.zeros(len(context.labels["test"]), context.classes), {"metrics": {}})
    with pytest.raises(UserError, match=f"teacher {identity[:12]} was replaced in .* by another run"):
        load_teacher(context, identity, plan.teacher)
    files.write(TEACHER_FILE, content[:-1])
    assert load_teacher(context, identity, plan.teacher) is None  # damaged: set aside, as without a cache
    assert "damaged" in capsys.readouterr().err


def test_a_damaged_teacher_is_set_aside_and_missing(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    put_teachers(plan)
    files = plan.context.teacher_files(only_id(plan))
    content = bytearray(files.read(TEACHER_FILE))
    content[-3] ^= 1
    files.write(TEACHER_FILE, bytes(content))
    assert load_teacher(plan.context, only_id(plan), plan.teacher) is None
    assert not files.exists(TEACHER_FILE)
    assert "checksum does not match" in capsys.readouterr().err
    assert len((plan.context.store / "damaged").names()) == 1


BAD_STORED: dict[str, Callable[[dict[str, Tensor], dict[str, Any]], object]] = {
    "no logits": lambda t, r: t.pop("test_logits"),
    "logits of other images": lambda t, r: t.update(test_logits=t["test_logits"][1:]),
    "logits of other classes": lambda t, r: t.update(test_logits=t["test_logits"][:, 1:]),
    "whole logits": lambda t, r: t.update(test_logits=t["test_logits"].long()),
    "no tensor": lambda t, r: t.pop("classifier.bias"),
    "one too many": lambda t, r: t.update(x=torch.ones(1)),
    "another shape": lambda t, r: t.update({"classifier.bias": torch.ones(3)}),
    "another type": lambda t, r: t.update({"classifier.bias": t["classifier.bias"].to(torch.int8)}),
    "complex": lambda t, r: t.update({"classifier.bias": t["classifier.bias"].to(torch.complex64)}),
    "nan": lambda t, r: t.update({"classifier.bias": t["classifier.bias"] * torch.nan}),
    "no metrics": lambda t, r: r.pop("metrics"),
    "metrics of another type": lambda t, r: r.update(metrics=[0.5]),
    "no accuracy": lambda t, r: r.update(metrics={}),
    "accuracy as text": lambda t, r: r.update(metrics={"test_acc": "0.5"}),
    "an impossible accuracy": lambda t, r: r.update(metrics={"test_acc": 7.0}),
    "accuracy nan": lambda t, r: r.update(metrics={"test_acc": torch.nan}),
}


@pytest.mark.parametrize("kind", BAD_STORED)
def test_a_stored_teacher_that_cannot_serve_is_set_aside(
    kind: str, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    put_teachers(plan)
    files = plan.context.teacher_files(only_id(plan))
    tensors, record = checkpoint.unpack(files.read(TEACHER_FILE))
    BAD_STORED[kind](tensors, record)
    files.write(TEACHER_FILE, checkpoint.pack(tensors, record))
    assert load_teacher(plan.context, only_id(plan), plan.teacher) is None
    assert not files.exists(TEACHER_FILE)
    assert capsys.readouterr().err.startswith("damaged: ")


def test_a_pipe_in_place_of_a_teacher_is_none(plan: Plan) -> None:
    folder = Path(plan.context.teacher_files(only_id(plan)).path)
    folder.mkdir(parents=True, exist_ok=True)
    os.mkfifo(folder / TEACHER_FILE)
    assert load_teacher(plan.context, only_id(plan), plan.teacher) is None


def test_a_file_serves_one_network_on_one_data_set(plan: Plan) -> None:
    """The id of a user's file is the hash of its content alone, so its use is part of the record."""
    one, other = plan.context, replace(plan.context, fingerprint="other data")
    names = {imported_file(context, config) for context in (one, other) for config in (plan.teacher, Config())}
    assert len(names) == 4
    evaluate_and_save(one, plan.teacher, fresh(plan), "file", imported=True)
    assert load_teacher(one, "file", plan.teacher) is not None
    assert load_teacher(other, "file", plan.teacher) is None
    assert load_teacher(one, "file", Config()) is None
    # A record of another use is not taken, whatever its name.
    found = load_teacher(one, "file", plan.teacher)
    assert found is not None
    save_teacher(
        other.teacher_files("file"),
        found[0].weights,
        found[0].test_logits,
        found[1],
        imported_file(other, plan.teacher),
    )
    assert load_teacher(other, "file", plan.teacher) is None


# --- a user's checkpoint --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_take_the_type_of_the_model(dtype: torch.dtype, plan: Plan, tmp_path: Path) -> None:
    given = {k: t.to(dtype) if t.is_floating_point() else t.float() for k, t in fresh(plan).items()}
    torch.save(given, tmp_path / "t.pt")
    import_teacher(plan.context, plan.teacher, "hash", open_given(str(tmp_path / "t.pt")), anyway=True)
    found = load_teacher(plan.context, "hash", plan.teacher)
    assert found is not None
    assert all(torch.equal(found[0].weights[k], given[k].to(old.dtype)) for k, old in fresh(plan).items())


def test_a_checkpoint_is_checked_stored_and_used_again(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({f"module.{name}": tensor for name, tensor in fresh(plan, 3).items()}, tmp_path / "t.safetensors")
    import_teacher(plan.context, plan.teacher, "hash", open_given(str(tmp_path / "t.safetensors")), anyway=True)
    found = load_teacher(plan.context, "hash", plan.teacher)
    assert found is not None
    assert all(torch.equal(found[0].weights[name], tensor) for name, tensor in fresh(plan, 3).items())
    accuracy = found[1]["metrics"]["test_acc"]
    told = f"teacher {tmp_path / 't.safetensors'}: test accuracy {accuracy:.2%}; used although its test accuracy"
    assert capsys.readouterr().err.startswith(told)
    monkeypatch.setattr(module, "fitted", None)  # not looked at again
    import_teacher(plan.context, plan.teacher, "hash", open_given(str(tmp_path / "t.safetensors")), anyway=True)
    assert capsys.readouterr().err == ""


# --- published weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False], ids=["the same classes", "other classes"])
def test_published_weights_are_the_teacher_or_its_start(
    whole: bool, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    published = fresh(plan, 5)
    monkeypatch.setattr(module, "pretrained", lambda name, model: (asked.append(name), (published, whole))[1])

    def start() -> RunContext:
        return start_from_pretrained(plan.context, plan.teacher)

    context = start()
    found = load_teacher(context, only_id(plan), plan.teacher)
    assert (found is not None) == whole
    job = context.jobs[only_id(plan)]
    assert job == (
        plan.context.jobs[only_id(plan)] if whole else replace(plan.context.jobs[only_id(plan)], weights=published)
    )
    if found:
        assert all(torch.equal(found[0].weights[name], tensor) for name, tensor in published.items())
    put_teachers(plan)
    assert start().jobs == plan.context.jobs  # a teacher that is there needs no weights
    assert asked == [plan.teacher.model]


def test_weights_that_are_used_unchanged_are_one_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tiny_plan(tmp_path, "--seeds", "2", "--teachers", "2")
    monkeypatch.setattr(module, "pretrained", lambda name, model: (fresh(plan, 5), True))
    with pytest.raises(
        UserError, match=r"published weights have the 10 classes .* 2 teachers would be one and the same"
    ):
        start_from_pretrained(plan.context, plan.teacher)


# --- from the command line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_teacher_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    content, message = BAD[kind]
    path = tmp_path / "teacher"
    path.write_bytes(content())
    run = ablation(tmp_path / "out", "--inline", "--plan", "--limit", "60", "--teacher", str(path))
    assert run.returncode == 2
    assert run.stderr.startswith("error: --teacher")
    assert re.search(message, run.stderr)
    assert len(run.stderr) < 1000
    assert not re.search("Traceback|weights_only|can't allocate|[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", run.stderr)
    assert not (ROOT / "executed").exists()


# Each plans a study: of the many, a few in every run of the tests.
@pytest.mark.parametrize(
    "kind", [kind if i % 4 == 0 else pytest.param(kind, marks=pytest.mark.slow) for i, kind in enumerate(GOOD)]
)
def test_what_training_scripts_save_is_a_teacher(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "teacher"
    path.write_bytes(GOOD[kind]())
    run = ablation(
        tmp_path / "out", "--inline", "--plan", "--limit", "60", "--arms", "kd", "--seeds", "1",
        "--teacher", str(path), "--teacher-anyway",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "test accuracy" in run.stderr


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_a_teacher_from_a_file_guides(kind: str, tmp_path: Path) -> None:
    state = build_model("plain11", 10, 1, 0.25).state_dict()
    path = tmp_path / f"teacher.{kind}"
    torch.save(state, path) if kind == "pt" else save_file(state, path)
    run = ablation(
        tmp_path / "out", "--inline", "--teacher", str(path), "--teacher-anyway", "--epochs", "1", "--seeds", "1",
        "--arms", "kd", "--limit", "60",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    study = json.loads((tmp_path / "out" / "ablation" / "study.json").read_text())
    assert study["teacher"]["source"] == "file"
    assert 0 < study["teacher"]["test_acc"]["all"] < 0.5  # untrained


def test_a_checkpoint_of_public_code_fits_by_order(tmp_path: Path) -> None:
    """Other names, the same layers in the same order, as RepDistiller saves them."""
    state = build_model("resnet14", 10, 1).state_dict()
    renamed = {f"layer{i}.{name.rpartition('.')[2]}": tensor for i, (name, tensor) in enumerate(state.items())}
    torch.save({"epoch": 240, "model": renamed}, tmp_path / "teacher.pth")
    run = ablation(
        tmp_path / "out", "--inline", "--teacher", str(tmp_path / "teacher.pth"), "--teacher-model", "resnet14",
        "--teacher-width", "1", "--epochs", "1", "--limit", "60", "--seeds", "1", "--arms", "kd", "--teacher-anyway",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "matched by order and shape" in run.stderr


def test_a_teacher_file_is_looked_at_anew_for_another_network_or_other_data(tmp_path: Path) -> None:
    save_file(build_model("plain11", 10, 1, 0.25).state_dict(), tmp_path / "teacher.safetensors")
    flags = [
        "--teacher",
        str(tmp_path / "teacher.safetensors"),
        "--teacher-anyway",
        "--arms",
        "kd",
        "--seeds",
        "1",
        "--epochs",
        "1",
    ]
    first = ablation(tmp_path / "out", "--inline", *flags, "--limit", "60")
    assert first.returncode == 0, first.stderr
    again = ablation(tmp_path / "out", "--inline", *flags, "--limit", "60")
    assert "test accuracy" in first.stderr
    assert "test accuracy" not in again.stderr
    other_data = ablation(tmp_path / "out", "--inline", *flags, "--limit", "70")
    assert "test accuracy" in other_data.stderr
    other_network = ablation(tmp_path / "out", "--inline", *flags, "--limit", "60", "--teacher-model", "plain9")
    assert other_network.returncode == 2
    assert "does not fit plain9" in other_network.stderr
