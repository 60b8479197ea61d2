"""A user's teacher: what its files hold, what is said of it, how it is fed."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scl.cli.command import main
from scl.errors import UserError
from scl.models.networks import build_student
from scl.plan import chance
from scl.plan.context import data_of
from scl.plan.given import Shapes, fitted, misfit, open_given
from scl.plan.plan import Plan
from scl.plan.teachers import import_teacher, load_teacher
from scl.store.results import load
from scl.study.config import Config
from scl.study.study import Study
from scl.train.inputs import Inputs
from tests.support.elsewhere import CLASSES, MEAN, SIZE, STD, trained, write_data
from tests.support.plans import tiny_plan
from tests.support.studies import planned, run_study
from tests.support.zoo import RIGHT, WRONG

A, B = ("a", (2, 3)), ("b", (4,))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return tiny_plan(tmp_path_factory.mktemp("given"), "--seeds", "1")


def weights_of(plan: Plan) -> dict[str, Tensor]:
    return build_student(plan.teacher, data_of(plan.context), 3).state_dict()


@pytest.mark.parametrize("kind", RIGHT)
def test_what_libraries_save_is_read_to_the_last_number(kind: str, plan: Plan, tmp_path: Path) -> None:
    state = weights_of(plan)
    if kind == "half":
        state = {k: t.half().float() if t.is_floating_point() else t for k, t in state.items()}
    given = open_given(str(RIGHT[kind](tmp_path, state)))
    identity = re.sub(r"\W", "", kind)
    import_teacher(plan.context, plan.teacher, identity, given, anyway=True)
    found = load_teacher(plan.context, identity, plan.teacher)
    assert found is not None
    assert found[0].weights.keys() == state.keys()
    assert all(torch.equal(found[0].weights[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_teacher_is_refused_by_one_message(kind: str, plan: Plan, tmp_path: Path) -> None:
    write, message = WRONG[kind]
    path = str(write(tmp_path, weights_of(plan)))
    with pytest.raises(UserError, match=message) as refused:
        import_teacher(plan.context, plan.teacher, "wrong", open_given(path), anyway=True)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 700


@pytest.mark.parametrize("write", ["pt", "safetensors"])
def test_names_that_are_exact_are_not_called_matched_by_order(
    write: str, plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {
        "pt": ("DDP", "timm, clean", "lightning, model.", "pt, a loss too"),
        "safetensors": ("safetensors, model.",),
    }
    for kind in kinds[write]:
        (tmp_path / kind).mkdir()
        given = open_given(str(RIGHT[kind](tmp_path / kind, weights_of(plan))))
        import_teacher(plan.context, plan.teacher, f"exact{write}{len(kind)}", given, anyway=True)
        assert "order" not in capsys.readouterr().err.partition("used although")[0]


def test_what_a_script_has_pickled_is_described_and_not_made(plan: Plan, tmp_path: Path) -> None:
    given = open_given(str(RIGHT["timm, train.py"](tmp_path, weights_of(plan))))
    (shard,) = given.shards
    assert shard.key == ("state_dict_ema",)
    assert shard.averaged
    assert shard.keys["args"] == "an object of argparse.Namespace, which was not made"
    assert shard.beside["epoch"] == 3
    assert shard.beside["metric"] == 71.5
    assert shard.beside["args"]["data_dir"] == "/data"


# --- which tensor is which ------------------------------------------------------------------------------------------


def shapes(*pairs: tuple[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return dict(pairs)


FITS: list[tuple[Shapes, Shapes]] = [
    (shapes(A, B), shapes(A, B)),
    (shapes(B, A), shapes(A, B)),  # by name in any order
    (shapes(("x", (2, 3)), ("y", (4,))), shapes(A, B)),  # by order and shape
    (shapes(A, B), shapes(("net.a", (2, 3)), ("net.b", (4,)))),  # of another library, wrapped here
    (shapes(("net.a", (2, 3)), ("net.b", (4,))), shapes(("net.a", (2, 3)), ("net.b", (4,)))),
    (shapes(("m.net.a", (2, 3)), ("m.net.b", (4,))), shapes(("net.a", (2, 3)), ("net.b", (4,)))),
    (shapes(A, B, ("head", (1,))), shapes(("net.a", (2, 3)), ("net.b", (4,)))),  # its auxiliary head is left out
    (shapes(("m.a", (2, 3)), ("m.b", (4,)), ("loss", (1,))), shapes(A, B)),
    (shapes(("w.m.a", (2, 3)), ("w.m.b", (4,)), ("w.loss.c", (1,))), shapes(A, B)),
]


@pytest.mark.parametrize(("given", "wanted"), FITS)
def test_a_checkpoint_fits_by_name_or_by_order_and_shape(given: Shapes, wanted: Shapes) -> None:
    found = fitted(given, wanted)
    assert found is not None
    assert {name: given[theirs] for name, theirs in found.items()} == wanted


@pytest.mark.parametrize(
    ("given", "wanted", "difference"),
    [
        (shapes(("x", (2, 3)), ("y", (5,))), shapes(A, B), r"by order, y is \(5,\) where b is \(4,\)"),
        (shapes(A, ("b", (5,))), shapes(A, B), r"b is \(5,\), wanted \(4,\)"),
        (shapes(A, B, ("c", (1,))), shapes(A, B), "it has 3 tensors, wanted 2; c is one too many"),
        (shapes(A), shapes(A, B), "it has 1 tensors, wanted 2; b is absent"),
        (shapes(A, ("z", (4,)), ("c", (1,))), shapes(("net.a", (2, 3)), ("net.b", (4,))), "it has 3 tensors, wanted 2"),
        (shapes(("a", (3, 2)), B), shapes(("net.a", (2, 3)), ("net.b", (4,))), r"net.a is \(3, 2\), wanted \(2, 3\)"),
    ],
)
def test_the_first_difference_is_named(given: Shapes, wanted: Shapes, difference: str) -> None:
    assert fitted(given, wanted) is None
    with pytest.raises(UserError, match=difference):
        raise UserError(misfit(given, wanted))


# --- a teacher that was trained under another library ---------------------------------------------------------------

STUDY = Study(
    name="own",
    question="?",
    base=Config(model="plain3", width=0.125, epochs=1, batch_size=32, lr=0.02),
    teacher=Config(model="plain5", width=0.125, epochs=1, batch_size=32),
    arms={"baseline": {}, "kd": {"losses": {"kd": 0.5}}, "at": {"losses": {"at": 1.0}}},
)
JSON = {"mean": MEAN, "std": STD, "input_size": (3, SIZE, SIZE), "classes": CLASSES}
NUMBERED = {str(i): name for i, name in enumerate(CLASSES)}
FLAGS = [
    "--teacher-mean", ",".join(map(str, MEAN)), "--teacher-std", ",".join(map(str, STD)),
    "--teacher-size", str(SIZE), "--teacher-classes", ",".join(CLASSES),
]  # fmt: skip
Says = Callable[[Path, dict[str, Tensor]], list[str]]


def _files(weights: Callable[[Path, dict[str, Tensor]], Any], name: str, **configurations: Any) -> Says:
    def write(folder: Path, state: dict[str, Tensor]) -> list[str]:
        weights(folder, state)
        for stem, content in configurations.items():
            (folder / f"{stem}.json").write_text(json.dumps(content))
        return ["--teacher", str(folder / name)]

    return write


def _hub(folder: Path, state: dict[str, Tensor]) -> None:
    save_file({k: v.clone() for k, v in state.items()}, folder / "model.safetensors")


def _with(**beside: Any) -> Says:
    def write(folder: Path, state: dict[str, Tensor]) -> list[str]:
        torch.save({"model": state, **beside}, folder / "t.pt")
        return ["--teacher", str(folder / "t.pt")]

    return write


def _metadata(folder: Path, state: dict[str, Tensor]) -> list[str]:
    metadata = {name: json.dumps(value) for name, value in JSON.items()}
    save_file({k: v.clone() for k, v in state.items()}, folder / "t.safetensors", metadata)
    return ["--teacher", str(folder / "t.safetensors")]


def _imported(folder: Path, state: dict[str, Tensor]) -> list[str]:
    torch.save({"model": state, "args": argparse.Namespace(**JSON)}, folder / "t.pt")
    assert main(["import-teacher", str(folder / "t.pt"), "-o", str(folder / "made.safetensors")]) == 0
    return ["--teacher", str(folder / "made.safetensors")]


def _by_flags(folder: Path, state: dict[str, Tensor]) -> list[str]:
    torch.save(state, folder / "t.pt")
    return ["--teacher", str(folder / "t.pt"), *FLAGS]


def _class_file(folder: Path, state: dict[str, Tensor]) -> list[str]:
    (folder / "names.txt").write_text("\n".join(CLASSES))
    return [*_by_flags(folder, state)[:-1], str(folder / "names.txt")]


PROCESSOR = {"image_mean": MEAN, "image_std": STD, "do_normalize": True, "do_rescale": True, "resample": 2}
SAYS: dict[str, Says] = {
    "flags": _by_flags,
    "flags, and a file of names": _class_file,
    "timm's folder": _files(
        _hub, "",
        config={"pretrained_cfg": {"mean": MEAN, "std": STD, "input_size": [3, SIZE, SIZE]}, "label_names": CLASSES},
    ),
    "transformers' folder": _files(
        _hub, "", preprocessor_config={**PROCESSOR, "size": {"height": SIZE, "width": SIZE}},
        config={"id2label": NUMBERED, "architectures": ["X"]},
    ),
    "transformers' crop": _files(
        _hub, "model.safetensors",
        preprocessor_config={
            **PROCESSOR, "size": {"shortest_edge": 28}, "do_center_crop": True,
            "crop_size": {"height": SIZE, "width": SIZE},
        },
        config={"label2id": {name: i for i, name in enumerate(CLASSES)}},
    ),
    "transformers, another scale": _files(
        _hub, "",
        preprocessor_config={
            **PROCESSOR, "rescale_factor": 1 / 127.5, "rescale_offset": True, "size": SIZE,
            "image_mean": [2 * m - 1 for m in MEAN], "image_std": [2 * s for s in STD],
        },
        config={"id2label": NUMBERED},
    ),
    "NAME.json of NAME.pt": _files(lambda f, s: torch.save(s, f / "t.pt"), "t.pt", t=JSON),
    "a Namespace": _with(args=argparse.Namespace(**JSON)),
    "Lightning's hyperparameters": _with(hyper_parameters={**JSON, "lr": 0.1}),
    "a mapping of classes": _with(class_to_idx={n: i for i, n in enumerate(CLASSES)}, mean=MEAN, std=STD, size=SIZE),
    "tensors": _with(mean=torch.tensor(MEAN), std=torch.tensor(STD), img_size=SIZE, classes=CLASSES),
    "safetensors' metadata": _metadata,
    "scl import-teacher": _imported,
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs seconds."""
    monkeypatch.setattr(chance, "SIZES", ())
    monkeypatch.setattr(chance, "NORMALISATIONS", {})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("kind", SAYS)
def test_a_teacher_has_the_accuracy_that_it_had_elsewhere(kind: str, data: Path, tmp_path: Path) -> None:
    teacher = trained(data)
    assert 0.6 < teacher.right / teacher.images < 1
    flags = SAYS[kind](tmp_path, teacher.weights)
    plan = planned(STUDY, tmp_path / "out", "--inline", "--data", str(data), "--seeds", "1", *flags)
    (identity,) = plan.context.jobs
    found = load_teacher(plan.context, identity, plan.teacher)
    assert found is not None
    assert found[1]["metrics"]["test_acc"] == teacher.right / teacher.images
    assert plan.context.teacher_inputs == Inputs(MEAN, STD, SIZE, "bilinear", None, (3, 1, 2, 0), 4)


def test_it_is_fed_so_in_training_too(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = trained(data)
    flags = _by_flags(tmp_path, teacher.weights)
    shared = ["--data", str(data), "--seeds", "1", "--out", str(tmp_path / "out"), *flags]
    assert run_study(STUDY, *shared, "--cohort-size", "1") == 0
    study = load(str(tmp_path / "out" / "own")).study
    assert study["teacher"]["test_acc"] == {"all": teacher.right / teacher.images}
    assert "24×24 pixels (bilinear, whole image)" in study["teacher"]["described"]
    assert "classes by name, in another order" in capsys.readouterr().err
    assert "The teacher comes from a file" in (tmp_path / "out" / "own" / "report.html").read_text()
    # Alone or in a cohort, bitwise.
    assert run_study(STUDY, *shared, "--out", str(tmp_path / "two")) == 0
    one, two = (load(str(tmp_path / o / "own")).epochs.drop(columns="trial_id") for o in ("out", "two"))
    pd.testing.assert_frame_equal(one.sort_values(list(one)), two.sort_values(list(two)), check_exact=True)


def test_without_a_word_it_stops_before_anything_trains(data: Path, tmp_path: Path) -> None:
    torch.save(trained(data).weights, tmp_path / "t.pt")
    shared = ["--inline", "--data", str(data), "--seeds", "1", "--teacher", str(tmp_path / "t.pt")]
    with pytest.raises(UserError, match=r"guessing .*--teacher-mean.*--teacher-anyway uses it as it is"):
        planned(STUDY, tmp_path / "out", *shared)
    plan = planned(STUDY, tmp_path / "out", *shared, "--teacher-anyway")
    assert "used although its test accuracy" in plan.about_teacher["described"]
    with pytest.raises(UserError, match="guessing"):  # stored by now
        planned(STUDY, tmp_path / "out", *shared)


def test_a_wrong_order_is_found_and_named(data: Path, tmp_path: Path) -> None:
    torch.save(trained(data).weights, tmp_path / "t.pt")
    shared = ["--inline", "--data", str(data), "--seeds", "1", "--teacher", str(tmp_path / "t.pt")]
    with pytest.raises(UserError, match="--teacher-classes red_fox,cat,owl,bee it reaches"):
        planned(STUDY, tmp_path / "out", *shared, *FLAGS[:-2])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--teacher-mean", "0.5"], "belong together"),
        (["--teacher-mean", "123,117,104", "--teacher-std", "58,57,57"], "at most 1"),
        (["--teacher-mean", "0.5,0.5", "--teacher-std", "1"], "one number or three"),
        (["--teacher-classes", "bee,cat,owl,dog"], r"no class is 'red_fox'; its classes that match none: 'dog'"),
        (["--teacher-classes", "bee,cat,owl"], r"no class is 'red_fox'"),
        (["--teacher-classes", "nowhere.txt"], "there is no such file"),
        (["--teacher-classes", "bee,cat,owl,Red Fox,red-fox"], "several classes could be 'red_fox'"),
        (["--teacher-finetune", "--teacher-features"], "exclude each other"),
        (["--teacher-features", "--teacher-classes", "a,b"], "does not use"),
        (["--teacher-features"], "loss 'kd' compares logits"),
        (["--teacher-classes", "bee,cat,owl,red fox,dog"], r"with 5 classes .* Only its last layer differs"),
    ],
)
def test_contradictions_are_refused(flags: list[str], message: str, data: Path, tmp_path: Path) -> None:
    torch.save(trained(data).weights, tmp_path / "t.pt")
    with pytest.raises(UserError, match=message):
        planned(STUDY, tmp_path / "out", "--inline", "--data", str(data), "--teacher", str(tmp_path / "t.pt"), *flags)


def test_without_a_teacher_its_flags_have_no_meaning(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --teacher PATH too"):
        planned(STUDY, tmp_path, "--teacher-size", "24")


def other_classes(data: Path, tmp_path: Path) -> list[str]:
    """The trained network with a last layer of seven other classes."""
    state = dict(trained(data).weights)
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = torch.cat([state[name], state[name][:3]])
    torch.save(state, tmp_path / "t.pt")
    return ["--data", str(data), "--seeds", "1", "--out", str(tmp_path / "out"), "--teacher", str(tmp_path / "t.pt")]


def test_a_misfit_names_what_would_help(data: Path, tmp_path: Path) -> None:
    flags = other_classes(data, tmp_path)
    with pytest.raises(UserError, match=r"Only its last layer differs.*--teacher-finetune.*--teacher-features"):
        planned(STUDY, tmp_path / "out", "--inline", *flags)


def test_feature_maps_alone(data: Path, tmp_path: Path) -> None:
    flags = [*other_classes(data, tmp_path), *FLAGS[:-2], "--teacher-features", "--arms", "at"]
    assert run_study(STUDY, *flags) == 0
    results = load(str(tmp_path / "out" / "own"))
    assert results.trials["agreement"].isna().all()
    assert results.trials["teacher_test_acc"].isna().all()
    assert results.trials["test_acc"].notna().all()
    assert results.study["teacher"]["test_acc"] == {"all": None}
    assert run_study(STUDY, *flags) == 0  # found again


def test_a_teacher_of_other_classes_is_fine_tuned(data: Path, tmp_path: Path) -> None:
    flags = [*other_classes(data, tmp_path), *FLAGS[:-2], "--teacher-finetune", "--arms", "kd"]
    assert run_study(STUDY, *flags, "--teacher-epochs", "3", "--set", "teacher.lr=0.01") == 0
    results = load(str(tmp_path / "out" / "own"))
    (accuracy,) = results.study["teacher"]["test_acc"].values()
    assert accuracy > 0.5
    assert results.study["teacher"]["source"] == "file, fine-tuned here"
    assert results.trials["agreement"].notna().all()


def test_more_classes_than_the_data_have(data: Path, tmp_path: Path) -> None:
    state = dict(trained(data).weights)
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = torch.cat([state[name][:1] * 0 - 9, state[name]])
    torch.save(state, tmp_path / "t.pt")
    flags = ["--inline", "--data", str(data), "--seeds", "1", "--teacher", str(tmp_path / "t.pt"), *FLAGS[:-1]]
    plan = planned(STUDY, tmp_path / "out", *flags, ",".join(["dog", *CLASSES]))
    (identity,) = plan.context.jobs
    found = load_teacher(plan.context, identity, plan.teacher)
    assert found is not None
    assert found[1]["metrics"]["test_acc"] == trained(data).right / trained(data).images
    assert plan.context.teacher_inputs is not None
    assert plan.context.teacher_inputs.columns == (4, 2, 3, 1)
    assert "the 4 classes of the data, by name, of its 5" in plan.about_teacher["described"]


def test_a_file_without_a_word_has_the_id_of_its_content(plan: Plan, tmp_path: Path) -> None:
    torch.save(weights_of(plan), tmp_path / "t.pt")
    again = tiny_plan(tmp_path / "o", "--seeds", "1", "--teacher", str(tmp_path / "t.pt"), "--teacher-anyway")
    assert list(again.context.jobs) == [hashlib.sha256((tmp_path / "t.pt").read_bytes()).hexdigest()]
    assert again.context.teacher_inputs is None


def test_what_is_said_and_changes_nothing_leaves_the_id(plan: Plan, tmp_path: Path) -> None:
    mean, std = plan.context.mean.tolist(), plan.context.std.tolist()
    said = {"mean": mean, "std": std, "classes": list(plan.context.class_names)}
    torch.save({"model": weights_of(plan), **said}, tmp_path / "t.pt")
    again = tiny_plan(tmp_path / "o", "--seeds", "1", "--teacher", str(tmp_path / "t.pt"), "--teacher-anyway")
    assert list(again.context.jobs) == [hashlib.sha256((tmp_path / "t.pt").read_bytes()).hexdigest()]
