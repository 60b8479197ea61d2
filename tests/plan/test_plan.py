"""From a study and its options to trials, teachers, data and jobs."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from scl.data import cache
from scl.data.named import load_dataset
from scl.errors import UserError
from scl.models.build import build_model
from scl.plan import context as context_module
from scl.plan.context import data_of
from scl.plan.feasibility import Feasibility
from scl.plan.plan import Plan, keeps_logits, missing, student_jobs, with_arms
from scl.store.files import open_folder
from scl.store.parts import write_part
from scl.store.tables import read_trials
from scl.students.student import load_student
from scl.study.identity import requested, teacher_id, trials_of
from scl.study.params import params
from scl.study.term import Term
from tests.support.plans import SEARCHING, STUDY, put_rows, put_teachers, tiny_plan
from tests.support.studies import planned, run_study, write_images


def test_a_plan_has_every_arm_at_every_seed_in_order(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "--seeds", "2")
    assert [(t.arm, t.seed) for t in plan.trials] == [(arm, seed) for seed in (0, 1) for arm in STUDY.arms]
    assert len({t.trial_id for t in plan.trials}) == 6
    assert plan.trials == trials_of(plan.arms, [0, 1], plan.context.fingerprint, lambda seed: plan.teacher_ids[0])
    assert plan.seeds == [0, 1]
    assert (plan.teacher.epochs, {c.epochs for c in plan.arms.values()}) == (1, {2})
    assert (plan.slots, plan.context.device, plan.context.threads) == (1, "cpu", 1)
    assert not (tmp_path / "tiny").exists()  # nothing is written into the store


def test_a_list_of_seeds_is_a_part_of_the_study(tmp_path: Path) -> None:
    whole = tiny_plan(tmp_path, "--seeds", "5")
    part = tiny_plan(tmp_path, "--seed-list", "3-4,1")
    assert part.seeds == [1, 3, 4]
    assert part.trials == [trial for trial in whole.trials if trial.seed in (1, 3, 4)]


def test_images_are_split_and_counted(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path)
    about, context = plan.about_data, plan.context
    assert (about["name"], about["train"], about["val"], about["test"]) == ("digits", 60, 100, 797)
    assert (about["classes"], about["channels"], about["height"], about["width"]) == (10, 1, 8, 8)
    assert {part: len(images) for part, images in context.images.items()} == {"train": 60, "val": 100, "test": 797}
    assert all(len(context.labels[part]) == len(images) for part, images in context.images.items())
    assert about["fingerprint"] == context.fingerprint
    whole = planned(STUDY, tmp_path, "--inline")
    assert np.array_equal(whole.context.images["val"], context.images["val"])  # --limit cuts the training part alone
    assert whole.context.fingerprint != context.fingerprint
    without = planned(STUDY, tmp_path, "--inline", "--val", "0")
    assert without.about_data["val"] == 0
    assert without.about_data["train"] == whole.about_data["train"] + 100


def test_a_plan_of_a_large_set_decodes_a_sample_and_says_what_it_cannot_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_images(tmp_path / "data", classes=2, size=12, grey=True)
    monkeypatch.setattr(cache, "IN_MEMORY", 0)
    flags = ("--data", str(data), "--seeds", "1", "--epochs", "1", "--teacher-epochs", "1", "--out", str(tmp_path))
    assert run_study(STUDY, *flags, "--plan") == 0
    text = capsys.readouterr().out
    assert "done       not known before the images are decoded (once, " in text
    assert "missing    3" in text
    assert "36 train, 4 val, 20 test" in text
    assert run_study(STUDY, *flags) == 0
    assert run_study(STUDY, *flags, "--plan") == 0
    text = capsys.readouterr().out
    assert "done       3\n" in text
    assert "missing    0\n" in text


def test_a_large_set_trains_as_a_small_one_and_its_preprocessing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_images(tmp_path / "data", classes=2, size=12, grey=True)
    flags = ("--data", str(data), "--image-size", "16", "--seeds", "1", "--epochs", "1", "--teacher-epochs", "1")
    found = []
    for name, most in (("small", cache.IN_MEMORY), ("large", 0)):
        monkeypatch.setattr(cache, "IN_MEMORY", most)
        context_module._tensors.clear()
        assert run_study(STUDY, *flags, "--out", str(tmp_path / name)) == 0
        found.append(read_trials(open_folder(str(tmp_path / name / STUDY.name))).set_index("trial_id").sort_index())
    numbers = ["arm", "test_acc", "val_acc", "test_loss", "teacher_test_acc", "agreement"]
    pd.testing.assert_frame_equal(found[0][numbers], found[1][numbers], check_exact=True)
    document = json.loads((tmp_path / "large" / STUDY.name / "study.json").read_text())
    how = document["data"]["preprocessing"]
    assert how == {"height": 16, "width": 16, "channels": 1, "fit": "crop", "interpolation": "bilinear"}
    [student, *_] = (tmp_path / "large" / STUDY.name / "checkpoints").glob("*/student.safetensors")
    assert load_student(str(student)).record["preprocessing"] == how


@pytest.mark.parametrize(
    ("flags", "trials", "stored"),
    [
        ((), 9, True),
        (("--no-logits",), 9, False),
        ((), 180_000, False),  # of 897 images and 10 classes: 3 GB
        (("--logits",), 180_000, True),
    ],
)
def test_logits_are_stored_unless_they_are_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], trials: int, stored: bool
) -> None:
    plan = tiny_plan(tmp_path, *flags)
    assert plan.context.logits == (flags != ("--no-logits",))
    assert keeps_logits(plan.options, plan.context, trials) == stored
    told = "logits of 180,000 trials would take 3.0 GB, more than 2, so they are not stored; --logits stores them"
    assert (told in capsys.readouterr().err) == (trials > 9 and not flags)


def test_top_5_needs_more_than_5_classes(tmp_path: Path) -> None:
    data = write_images(tmp_path / "images", classes=3, size=12, grey=True)
    with pytest.raises(UserError, match="with 3 classes every image is right"):
        planned(STUDY, tmp_path, "--inline", "--data", str(data), "--metric", "test_acc5")


def test_caveats_of_the_data_are_told_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_images(tmp_path / "data", classes=2, size=8, grey=True)
    shutil.copy(data / "train" / "class-0" / "0.png", data / "test" / "class-0" / "0.png")
    (data / "train" / "class-1" / "notes.txt").write_text("words")
    note = "1 of 20 test images is also a training image"
    flags = ("--data", str(data), "--val", "0", "--seeds", "1", "--epochs", "1", "--teacher-epochs", "1")
    assert run_study(STUDY, *flags, "--plan", "--out", str(tmp_path)) == 0
    text = capsys.readouterr().out
    assert note in text
    assert "Not read as images: 1 (.txt file: 1)." in text
    assert run_study(STUDY, *flags, "--out", str(tmp_path)) == 0
    assert f"note: {note}" in capsys.readouterr().err
    assert note in (tmp_path / STUDY.name / "report.html").read_text()
    assert tiny_plan(tmp_path).about_data.get("caveats") is None


def with_validation(folder: Path) -> Path:
    """A data set of 40 training, 10 validation and 20 test images in 2 classes."""
    data = write_images(folder, classes=2, size=8, grey=True)
    for c in (0, 1):
        place = data / "valid" / f"class-{c}"
        place.mkdir(parents=True)
        for i in range(5):
            (data / "test" / f"class-{c}" / f"{i}.png").rename(place / f"{i}.png")
    return data


def test_a_given_validation_part_validates_and_all_training_images_train(tmp_path: Path) -> None:
    data = ("--data", str(with_validation(tmp_path / "data")), "--inline")
    plan = planned(STUDY, tmp_path, *data)
    about = plan.about_data
    assert (about["train"], about["val"], about["test"], about["val_share"]) == (40, 10, 10, 0)
    whole = load_dataset(data[1], tmp_path / "cache")
    assert np.array_equal(plan.context.images["val"], whole.val_images)
    assert np.array_equal(plan.context.labels["val"], whole.val_labels)
    assert np.array_equal(plan.context.images["train"], whole.train_images)
    ids = [trial.trial_id for trial in plan.trials]
    same = [planned(STUDY, tmp_path, *data, *flags) for flags in (("--val", "0"), ("--split-seed", "3"))]
    assert [[trial.trial_id for trial in other.trials] for other in same] == [ids, ids]
    assert len(planned(STUDY, tmp_path, *data, "--recipe", "crd").context.labels["val"]) == 10
    limited = planned(STUDY, tmp_path, *data, "--limit", "8")
    assert [len(labels) for labels in limited.context.labels.values()] == [8, 10, 10]
    with pytest.raises(UserError, match=r"--val 0\.2: .* has its own validation part of 10 images, .*drop --val"):
        planned(STUDY, tmp_path, *data, "--val", "0.2")


@pytest.mark.parametrize("flags", [("--val", "0"), ("--recipe", "crd")])
def test_a_search_needs_validation_images_held_out_or_given(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="--val 0: a search selects on validation images"):
        planned(SEARCHING, tmp_path, "--inline", *flags)
    data = with_validation(tmp_path / "data")
    assert planned(SEARCHING, tmp_path, "--inline", "--data", str(data), *flags).about_data["val"] == 10


@pytest.mark.parametrize(
    ("flags", "same"),
    [
        (("--cohort-size", "1"), True),
        (("--arms", "kd"), True),
        (("--cpus-per-trial", "1"), True),
        (("--deterministic",), True),
        (("--split-seed", "1"), False),
        (("--limit", "61"), False),
        (("--teacher-epochs", "2"), False),
        (("--lr", "0.06"), False),
        (("--val", "0.2"), False),
        (("--augment", "auto"), True),
        (("--augment", "erasing"), False),
        (("--no-flip",), True),  # nobody mirrors digits
    ],
)
def test_ids_depend_on_what_determines_numbers_alone(flags: tuple[str, ...], same: bool, tmp_path: Path) -> None:
    ids = {(t.arm, t.seed): t.trial_id for t in tiny_plan(tmp_path).trials}
    others = {(t.arm, t.seed): t.trial_id for t in tiny_plan(tmp_path, *flags).trials}
    assert others.keys() <= ids.keys()
    assert {ids[key] == other for key, other in others.items()} == {same}


@pytest.mark.parametrize(
    ("size", "flags", "auto"),
    [(8, (), None), (8, ("--no-flip",), "crop"), (66, (), "rrc+flip"), (66, ("--no-flip",), "rrc")],
)
def test_what_auto_means_is_told_if_it_is_no_mirrored_crop(
    size: int, flags: tuple[str, ...], auto: str | None, tmp_path: Path
) -> None:
    data = write_images(tmp_path / "data", classes=2, size=size, grey=True)
    plan, mirrored = (planned(STUDY, tmp_path, "--inline", "--data", str(data), *more) for more in (flags, ()))
    assert plan.about_data.get("auto_augment") == auto
    assert plan.context.flip == (not flags)
    assert (plan.context.fingerprint == mirrored.context.fingerprint) == (not flags)


def test_one_teacher_for_all_seeds_or_one_for_each(tmp_path: Path) -> None:
    one, each = tiny_plan(tmp_path, "--seeds", "3"), tiny_plan(tmp_path, "--seeds", "3", "--teacher-per-seed")
    fingerprint = one.context.fingerprint
    assert one.teacher_ids == dict.fromkeys(range(3), teacher_id(one.teacher, 0, fingerprint))
    assert each.teacher_ids == {seed: teacher_id(one.teacher, seed, fingerprint) for seed in range(3)}
    assert {i: job.seed for i, job in one.context.jobs.items()} == {one.teacher_ids[0]: 0}
    assert {i: job.seed for i, job in each.context.jobs.items()} == {i: s for s, i in each.teacher_ids.items()}
    assert all(job.config == one.teacher and job.columns is None for job in one.context.jobs.values())


def test_several_teachers_keep_the_ids_of_a_study_that_grows(tmp_path: Path) -> None:
    def ids(*flags: str) -> dict[tuple[str, int], str]:
        return {(t.arm, t.seed): t.trial_id for t in tiny_plan(tmp_path, *flags).trials}

    two = ids("--seeds", "2", "--teachers", "2")
    assert two == ids("--seeds", "2", "--teacher-per-seed")
    four = ids("--seeds", "4", "--teachers", "2")
    assert four.items() >= two.items()
    assert ids("--seed-list", "2-3", "--teachers", "2").items() <= four.items()
    assert ids("--seeds", "3", "--teachers", "1") == ids("--seeds", "3")
    plan = tiny_plan(tmp_path, "--seeds", "2", "--teachers", "2")
    more = with_arms(plan, {"kd": plan.arms["kd"]}, range(4))
    assert {(t.arm, t.seed): t.trial_id for t in more.trials}.items() <= four.items()
    assert sorted(job.seed for job in more.context.jobs.values()) == [0, 1]


def test_the_id_of_a_teachers_file_is_the_hash_of_its_content(tmp_path: Path) -> None:
    file = tmp_path / "teacher.safetensors"
    save_file(build_model("plain5", 10, 1, 0.125).state_dict(), file)
    plan = tiny_plan(tmp_path, "--teacher", str(file), "--teacher-anyway", "--teacher-per-seed", "--seeds", "2")
    assert set(plan.teacher_ids.values()) == {hashlib.sha256(file.read_bytes()).hexdigest()}
    with pytest.raises(UserError, match=r"--teacher '.*absent': no such file"):
        tiny_plan(tmp_path, "--teacher", str(tmp_path / "absent"))


@pytest.mark.parametrize(("winners", "seeds"), [(2, [1000, 1001]), (0, [])])
def test_arms_beside_a_search_have_fresh_seeds(winners: int, seeds: list[int], tmp_path: Path) -> None:
    assert SEARCHING.search is not None
    study = replace(SEARCHING, search=replace(SEARCHING.search, winners=winners))
    plan = tiny_plan(tmp_path, "--seeds", "2", "--teacher-per-seed", study=study)
    assert plan.seeds == seeds
    assert sorted({t.seed for t in plan.trials}) == seeds
    assert set(plan.teacher_ids) == {*seeds, 0}  # the seed of the searched trials
    assert len(set(plan.teacher_ids.values())) == len(seeds) + 1


def test_more_arms_and_seeds_are_added_to_a_plan(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "--seeds", "2", "--teacher-per-seed")
    more = with_arms(plan, {"sp": plan.arms["baseline"].replace(losses={"sp": 1.0})})
    assert [(t.arm, t.seed) for t in more.trials[6:]] == [("sp", 0), ("sp", 1)]
    assert more.trials[:6] == plan.trials
    longer = with_arms(plan, {arm: plan.arms[arm] for arm in ("kd", "baseline")}, range(4))
    assert [(t.arm, t.seed) for t in longer.trials[6:]] == [(a, s) for s in (2, 3) for a in ("kd", "baseline")]
    assert longer.seeds == [0, 1, 2, 3]
    # The trials are those of a plan that asks for so many seeds.
    asked = tiny_plan(tmp_path, "--seeds", "4", "--teacher-per-seed")
    assert {t.trial_id for t in longer.trials} < {t.trial_id for t in asked.trials}
    assert longer.teacher_ids == asked.teacher_ids
    assert {i: job.seed for i, job in longer.context.jobs.items()} == {
        i: job.seed for i, job in asked.context.jobs.items()
    }
    assert len(plan.trials) == 6  # the plan itself stays
    with pytest.raises(UserError, match="'kd' and 'again' are one configuration"):
        with_arms(plan, {"again": plan.arms["kd"]})


def test_more_seeds_share_the_one_teacher(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "--seeds", "2")
    more = with_arms(plan, {"kd": plan.arms["kd"]}, [2, 3])
    assert set(more.teacher_ids.values()) == set(plan.teacher_ids.values())
    assert more.context.jobs == plan.context.jobs


def test_failed_trials_are_missing_and_pruned_ones_are_not(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "--seeds", "2")
    assert missing(plan) == plan.trials
    for trial, state in zip(plan.trials, ("completed", "pruned", "failed"), strict=False):
        put_rows(plan, [trial], state)
    assert missing(plan) == plan.trials[2:]
    put_rows(plan, plan.trials[2:3])
    assert missing(plan) == plan.trials[3:]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return tiny_plan(tmp_path_factory.mktemp("out"), "--seeds", "2", "--teacher-per-seed")


def test_jobs_have_the_columns_that_are_known_before_training(plan: Plan) -> None:
    accuracies = put_teachers(plan)
    assert len(set(accuracies.values())) == len(accuracies) == 2
    jobs = student_jobs(plan, plan.trials)
    assert list(jobs) == [trial.trial_id for trial in plan.trials]
    for trial in plan.trials:
        job = jobs[trial.trial_id]
        assert (job.config, job.seed, job.teacher_id, job.weights) == (trial.config, trial.seed, trial.teacher_id, None)
        row = job.columns
        assert row is not None
        assert [row[name] for name in ("trial_id", "study", "arm", "config_id", "seed", "teacher_id")] == [
            trial.trial_id, "tiny", trial.arm, trial.config_id, trial.seed, trial.teacher_id,
        ]  # fmt: skip
        assert json.loads(row["config_json"]) == requested(trial.config)
        assert row["teacher_test_acc"] == accuracies[trial.teacher_id]
        cost = plan.feasibility.cost(trial.config)
        assert (row["params"], row["macs"], row["latency_ms"]) == (cost.params, cost.macs, cost.latency_ms)
        assert row["latency_ms"] > 0
        assert row["number"] is None
        assert row["param.student"] == "plain3"  # the stored name of `model`
        flat = {name.removeprefix("param."): value for name, value in row.items() if name.startswith("param.")}
        assert {"model": flat.pop("student"), **flat} == params(trial.config)


def test_jobs_of_a_search_have_its_numbers_and_no_latency(plan: Plan) -> None:
    put_teachers(plan)
    plan.feasibility.costs.clear()
    jobs = student_jobs(plan, plan.trials[:2], {plan.trials[0].trial_id: 5, plan.trials[1].trial_id: 3})
    columns = [job.columns or {} for job in jobs.values()]
    assert [(row["number"], row["latency_ms"]) for row in columns] == [(5, None), (3, None)]
    assert all(row["params"] > 0 for row in columns)


def test_the_columns_are_those_of_the_store(plan: Plan, tmp_path: Path) -> None:
    put_teachers(plan)
    store = plan.context.out / "elsewhere"
    for job in student_jobs(plan, plan.trials).values():
        write_part(store, {**(job.columns or {}), "state": "completed"}, [], None)
    rows = read_trials(store)
    assert len(rows) == len(plan.trials)
    assert rows["param.weight.kd"].notna().sum() == 2


def test_nothing_to_do_needs_no_teacher(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path)
    assert student_jobs(plan, []) == {}
    with pytest.raises(AssertionError):
        student_jobs(plan, plan.trials)


SIMKD = {"losses": {"simkd": 1.0}, "ce": 0.0}


def test_a_student_that_keeps_the_teachers_classifier_is_planned_with_its_projector(tmp_path: Path) -> None:
    study = replace(STUDY, arms={**STUDY.arms, "simkd": SIMKD, "bare": {"projector": 64}})
    plan = tiny_plan(tmp_path, study=study)
    assert {arm: config.projector for arm, config in plan.arms.items()} == {
        "baseline": 0, "kd": 0, "at": 0, "simkd": 64, "bare": 64,
    }  # fmt: skip
    assert {trial.arm: trial.config for trial in plan.trials} == plan.arms
    without, with_one = (plan.feasibility.cost(plan.arms[arm], idle=False) for arm in ("baseline", "simkd"))
    more = 64 * 32 + 9 * 32 * 32 + 32 * 64 + 2 * (32 + 32 + 64)  # the deepest map of student and teacher: 64 channels
    assert with_one.params == without.params + more
    assert with_one.macs > without.macs
    same = {(trial.arm, trial.seed): trial.trial_id for trial in tiny_plan(tmp_path).trials}
    found = {(trial.arm, trial.seed): trial.trial_id for trial in plan.trials}
    assert same.items() <= found.items()
    again = with_arms(plan, {"simkd": plan.arms["simkd"]}, [0, 1])
    assert all(trial.config == plan.arms["simkd"] for trial in again.trials if trial.arm == "simkd")


NORM = {"losses": {"norm": 1.0}, "ce": 0.1}


def test_a_student_whose_map_is_expanded_costs_what_its_final_network_does(tmp_path: Path) -> None:
    wider = {**NORM, "losses": {"norm": Term(1.0, options={"segments": 9})}}
    arms = {**STUDY.arms, "norm": NORM, "wider": wider, "control": {"expansion": 512}}
    plan = tiny_plan(tmp_path, study=replace(STUDY, arms=arms))
    one, *others = (plan.feasibility.cost(config, idle=False) for config in plan.arms.values())
    assert all((cost.params, cost.macs, cost.file_bytes) == (one.params, one.macs, one.file_bytes) for cost in others)
    # While it trains: 64 channels, as many as the teacher's, to 512 and back, and two batch norms.
    transform = 2 * 64 * 512 + 2 * (512 + 64)
    memory = {arm: plan.feasibility.memory(config) for arm, config in plan.arms.items()}
    assert memory["norm"] - memory["baseline"] == memory["control"] - memory["baseline"] == 12 * transform
    assert memory["wider"] > memory["norm"]
    assert len({plan.feasibility.trained_as(config) for config in plan.arms.values()}) == len(arms)
    same = {(trial.arm, trial.seed): trial.trial_id for trial in tiny_plan(tmp_path).trials}
    assert same.items() <= {(trial.arm, trial.seed): trial.trial_id for trial in plan.trials}.items()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--teacher-model", "torchvision:resnet18"], "torchvision:resnet18 is no network of scl; choose one of"),
        (["--set", "teacher.self_taught=2"], "plain5 has self-taught neurons, which it reads too"),
        (["--set", "projector=3"], "reads 64 channels, and projector is 3; leave projector out"),
        (["--set", "tap=bn"], "give this arm tap='relu', got 'bn'"),
        (["--student", "torchvision:resnet18"], "torchvision:resnet18 cannot have a projector"),
    ],
)
def test_what_cannot_keep_the_teachers_classifier_is_refused_by_arm(
    flags: list[str], message: str, tmp_path: Path
) -> None:
    study = replace(STUDY, arms={**STUDY.arms, "simkd": SIMKD})
    wide = {"teacher": study.teacher.replace(width=1.0)} if "--teacher-model" in flags else {}
    with pytest.raises(UserError, match=f"(arm 'simkd': |--set ).*{message}"):
        tiny_plan(tmp_path, *flags, study=replace(study, **wide))


def test_a_teacher_whose_last_layer_is_not_used_lends_no_classifier(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, study=replace(STUDY, arms={**STUDY.arms, "simkd": SIMKD}))
    tensors, context = data_of(plan.context), replace(plan.context, teacher_features=True)
    with pytest.raises(UserError, match="'simkd' keeps the teacher's classifier, and --teacher-features uses no last"):
        Feasibility(plan.teacher, tensors, context).trained_as(plan.arms["simkd"])
