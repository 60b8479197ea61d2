"""What a plan lacks is trained: its teachers, then its students."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch

from scl.models.networks import build_student
from scl.plan.context import data_of
from scl.plan.estimate import summarise
from scl.plan.plan import Plan, missing_teachers
from scl.plan.teachers import TEACHER_FILE, evaluate_and_save, load_teacher
from scl.run import training
from scl.run.backend import Work, open_backend
from scl.run.live import Live
from scl.run.stopping import Stop
from scl.run.trackers.tracker import Tracker
from scl.run.training import train_students, train_teachers
from scl.store.editions import write_edition
from scl.store.files import open_folder
from scl.store.locks import locked
from scl.store.logits import LOGITS
from scl.store.networks import STUDENT
from scl.store.node import node_cache, node_files
from scl.store.results import load
from scl.store.schema import SCHEMAS
from scl.store.tables import gather
from scl.train import checkpoint
from scl.train.loop import train_cohort
from scl.train.types import TrialEnded, TrialSpec
from tests.support.plans import STUDY, put_rows, put_teachers, tiny_plan
from tests.support.searches import search, stored
from tests.support.studies import SMALL, run_study
from tests.support.training import counted_forwards


class Recorder:
    """A backend that notes its work and may do something about it."""

    def __init__(self, then: Callable[[Plan], object] = lambda plan: None) -> None:
        self.works: list[Work] = []
        self.then = then

    def nodes(self) -> tuple[()]:
        return ()

    def train(self, plan: Plan, work: Work) -> None:
        self.works.append(work)
        self.then(plan)

    def search(self, plan: Plan, searcher: object) -> None:
        raise AssertionError("nothing is searched here")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return tiny_plan(tmp_path, "--seeds", "2", "--teacher-per-seed")


def test_missing_teachers_are_trained_each_in_its_cohort(plan: Plan) -> None:
    backend = Recorder(put_teachers)
    assert train_teachers(plan, backend, Stop())
    (work,) = backend.works
    ids = sorted(plan.teacher_ids.values())
    assert work == Work("teacher", [[i] for i in ids], dict.fromkeys(ids, "teacher"))
    assert train_teachers(plan, backend, Stop())
    assert len(backend.works) == 1  # they are there now


def test_only_teachers_that_are_missing_are_trained(plan: Plan) -> None:
    put_teachers(plan)
    gone = plan.teacher_ids[1]
    plan.context.teacher_files(gone).remove(TEACHER_FILE)
    backend = Recorder(put_teachers)
    assert train_teachers(plan, backend, Stop())
    assert [work.cohorts for work in backend.works] == [[[gone]]]


def test_a_teacher_whose_trials_have_ended_is_not_trained_again(plan: Plan) -> None:
    put_rows(plan, [trial for trial in plan.trials if (trial.arm, trial.seed) != ("kd", 1)])
    assert missing_teachers(plan) == [plan.teacher_ids[1]]
    assert "2 teachers: 1 of them to train" in str(summarise(plan))
    backend = Recorder(put_teachers)
    assert train_teachers(plan, backend, Stop())
    assert [work.cohorts for work in backend.works] == [[[plan.teacher_ids[1]]]]


def test_finished_trials_need_no_teacher_unless_all_is_to_be_made_again(plan: Plan) -> None:
    put_rows(plan, plan.trials)
    assert missing_teachers(plan) == []
    assert "2 teachers: done" in str(summarise(plan))
    assert missing_teachers(plan, every=True) == sorted(plan.teacher_ids.values())


def test_a_teacher_that_could_not_be_trained_is_no_success(plan: Plan) -> None:
    assert not train_teachers(plan, Recorder(), Stop())


@pytest.fixture
def line(tmp_path: Path) -> Plan:
    """Arms of three generations, and one that all of the generations before teach."""
    kd = {"ce": 0.1, "losses": {"kd": 0.9}}
    by = {"first": ("self",), "third": ("self:2",), "all": ("self", "self:1", "self:2")}
    study = replace(STUDY, arms={"baseline": {}, **{arm: {**kd, "taught_by": names} for arm, names in by.items()}})
    return tiny_plan(tmp_path, "--seeds", "1", study=study)


def generations(plan: Plan) -> list[str]:
    """The ids of the teachers of the student's own network, from the first generation to the last."""
    (entry,) = [trial for trial in plan.trials if trial.arm == "all"]
    return list(plan.context.jobs[entry.teacher_id].members)


def put(plan: Plan, ids: list[str]) -> None:
    for i in ids:
        config = plan.context.jobs[i].config
        evaluate_and_save(plan.context, config, build_student(config, data_of(plan.context), 0).state_dict(), i)


def test_generations_are_trained_one_after_the_other(line: Plan) -> None:
    ids, backend = generations(line), Recorder()
    backend.then = lambda plan: put(plan, [i for (i,) in backend.works[-1].cohorts])
    assert len(missing_teachers(line)) == 4
    assert "4 teachers: to train" in str(summarise(line))
    assert "of plain3 × 0.125, 2 epochs, taught by self:1" in str(summarise(line))
    assert train_teachers(line, backend, Stop())
    first, *others = [[i for (i,) in work.cohorts] for work in backend.works]
    assert first == sorted([ids[0], line.teacher_ids[0]])
    assert others == [[ids[1]], [ids[2]]]
    assert missing_teachers(line) == []


def test_a_generation_is_trained_again_if_it_is_lost_and_needed(line: Plan) -> None:
    put_teachers(line)
    ids = generations(line)
    for there in itertools.chain.from_iterable(itertools.combinations(ids, k) for k in range(4)):
        put(line, [i for i in there if i in missing_teachers(line)])
        for i in set(ids) - set(there):
            line.context.teacher_files(i).remove(TEACHER_FILE)
        assert missing_teachers(line) == sorted(set(ids) - set(there))
    put_rows(line, [trial for trial in line.trials if trial.arm != "third"])
    for i in ids[:2]:
        line.context.teacher_files(i).remove(TEACHER_FILE)
    assert missing_teachers(line) == []  # the last one is there, and it alone teaches what is missing
    line.context.teacher_files(ids[2]).remove(TEACHER_FILE)
    assert missing_teachers(line) == sorted(ids)


def test_a_generation_that_could_not_be_trained_ends_the_line(line: Plan) -> None:
    backend = Recorder()
    backend.then = lambda plan: put(plan, [i for (i,) in backend.works[-1].cohorts] if len(backend.works) < 2 else [])
    assert not train_teachers(line, backend, Stop())
    assert len(backend.works) == 2


def test_each_generation_is_the_student_that_it_would_be_under_the_one_before(line: Plan) -> None:
    """Bitwise: a student that trains alone with the seed of that generation."""
    ids, stop, cpu = generations(line), Stop(), torch.device("cpu")
    with open_backend(line.options, stop, Tracker(), Live(None)) as backend:
        assert train_teachers(line, backend, stop)
    for before, after in itertools.pairwise(ids):
        teacher, job = load_teacher(line.context, before, line.context.jobs[before].config), line.context.jobs[after]
        assert teacher is not None
        *_, ended = train_cohort([TrialSpec("alone", job.config, job.seed)], data_of(line.context), teacher[0], cpu)
        assert isinstance(ended, TrialEnded)
        made = load_teacher(line.context, after, job.config)
        assert made is not None
        assert {name: t.tolist() for name, t in made[0].weights.items()} == {
            k: t.tolist() for k, t in ended.weights.items()
        }
        assert ended.metrics["agreement"] > 0


def test_what_killed_writers_left_is_swept(plan: Plan) -> None:
    files = plan.context.teacher_files(plan.teacher_ids[0])
    files.write(".epoch-00001.safetensors.1-abc.partial", b"half")
    train_teachers(plan, Recorder(), Stop())
    assert not list(Path(files.path).glob(".*partial"))


def test_a_teacher_that_another_run_trains_is_waited_for(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    """And when that run has trained it, it is not trained again; locks are free afterwards."""
    ids = sorted(plan.teacher_ids.values())
    backend, waits = Recorder(), []
    other = locked(plan.context.teacher_files(ids[0]), command="the other run")
    other.__enter__()

    class Waiting(Stop):
        def __call__(self) -> bool:
            if not waits:
                put_teachers(plan)
                other.__exit__(None, None, None)
            waits.append(1)
            return False

    assert train_teachers(plan, backend, Waiting())
    assert waits
    assert backend.works == []
    assert "the other run" in capsys.readouterr().err
    with locked(plan.context.teacher_files(ids[0])):
        pass


def test_a_stop_while_waiting_trains_nothing(plan: Plan) -> None:
    backend, stop = Recorder(), Stop(budget=-1.0)
    with locked(plan.context.teacher_files(sorted(plan.teacher_ids.values())[0])):
        assert not train_teachers(plan, backend, stop)
    assert backend.works == []


def test_students_are_trained_in_cohorts_with_their_names_and_jobs(plan: Plan) -> None:
    put_teachers(plan)
    put_rows(plan, plan.trials[:1])
    todo = plan.trials[1:]
    backend = Recorder()
    assert train_students(plan, backend, Stop())
    (work,) = backend.works
    assert work.title == "students"
    assert sorted(i for cohort in work.cohorts for i in cohort) == sorted(t.trial_id for t in todo)
    assert work.labels == {t.trial_id: f"{t.arm} · seed {t.seed}" for t in todo}
    assert {i: (job.config, job.seed) for i, job in work.jobs.items()} == {t.trial_id: (t.config, t.seed) for t in todo}
    seeds = {t.trial_id: t.seed for t in todo}
    assert all(len({seeds[i] for i in cohort}) == 1 for cohort in work.cohorts)  # each sees one stream of batches


def test_nothing_missing_trains_no_student(plan: Plan) -> None:
    put_rows(plan, plan.trials)
    backend = Recorder()
    assert not train_students(plan, backend, Stop())
    assert backend.works == []


def test_a_stop_while_cohorts_are_packed_trains_no_student(plan: Plan) -> None:
    put_teachers(plan)
    backend = Recorder()
    assert train_students(plan, backend, Stop(budget=-1.0))  # there was something to train
    assert backend.works == []


DAMAGES: tuple[Callable[[Path], object], ...] = (  # of the networks of SMALL's six trials
    lambda path: path.write_bytes(path.read_bytes()[:-9] + b"x" * 9),
    lambda path: path.write_bytes(path.read_bytes()[:99]),
    lambda path: path.write_bytes(b""),
    lambda path: path.unlink(),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: path.write_bytes(checkpoint.pack({}, {"trial_id": "another"})),
)


def each_in_its_way(store: Path, ids: list[str]) -> None:
    for trial_id, damage in zip(ids, DAMAGES, strict=True):
        damage(student(store, trial_id))


def everything(store: Path, ids: list[str]) -> None:
    shutil.rmtree(store / "checkpoints")
    shutil.rmtree(store.parent / "teachers")


def student(store: Path, trial_id: str) -> Path:
    return store / "checkpoints" / trial_id / STUDENT


@pytest.mark.parametrize("lose", [each_in_its_way, everything])
def test_lost_networks_are_named_and_made_again(
    lose: Callable[[Path, list[str]], None], small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    shutil.copytree(small.parent, out)
    flags = ["--out", str(out), "--data", str(small.parent.parent / "images")]
    before = load(str(out / "small"))
    ids = list(before.planned()["trial_id"])

    def networks() -> dict[str, tuple[dict[str, list[float]], dict[str, object]]]:
        found = {i: checkpoint.unpack(student(out / "small", i).read_bytes()) for i in ids}
        return {i: ({k: v.tolist() for k, v in tensors.items()}, record) for i, (tensors, record) in found.items()}

    expected = networks()
    teachers = {path.parent.name for path in out.glob("teachers/*/teacher.safetensors")}
    lose(out / "small", ids)
    assert run_study(SMALL, *flags) == 0
    said = capsys.readouterr().err
    assert "6 networks of completed trials are lost: baseline seed 0 is " in said
    assert "--remake-students trains what is lost again" in said
    assert "nothing to train" in said
    assert (lose is everything) == ("is missing or damaged; --remake-students trains it again" in said)
    after = load(str(out / "small"))
    assert after.study["teacher"]["test_acc"] == before.study["teacher"]["test_acc"]
    assert run_study(SMALL, *flags, "--remake-students") == 0
    assert "6 of 6 lost networks were made again" in capsys.readouterr().err
    assert networks() == expected
    after = load(str(out / "small"))
    pd.testing.assert_frame_equal(after.trials, before.trials)
    pd.testing.assert_frame_equal(after.epochs, before.epochs)
    assert not list((out / "small").glob("checkpoints/*/epoch-*"))
    assert {path.parent.name for path in out.glob("teachers/*/teacher.safetensors")} == teachers


def test_lost_logits_are_named_and_made_again(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    shutil.copytree(small.parent, out)
    flags = ["--out", str(out), "--data", str(small.parent.parent / "images")]
    files = sorted((out / "small").glob(f"checkpoints/*/{LOGITS}"))
    before = {file: file.read_bytes() for file in (out / "small").glob("checkpoints/*/*")}
    assert len(files) == 6
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-50])
    assert run_study(SMALL, *flags) == 0
    assert "the logits of 1 trial are lost; --remake-students makes them again" in capsys.readouterr().err
    assert run_study(SMALL, *flags, "--remake-students") == 0
    assert "2 of 2 lost files of logits were made again" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in (out / "small").glob("checkpoints/*/*")} == before


def test_a_network_with_other_numbers_is_not_kept(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on another type of processor: here the row is another."""
    out = tmp_path / "results"
    shutil.copytree(small.parent, out)
    store = open_folder(str(out / "small"))
    read = gather(store, [], *SCHEMAS)
    trials = read.tables["trials"]
    at = trials.schema.get_field_index("test_loss")
    changed = pa.array([value + 0.125 for value in trials["test_loss"].to_pylist()])
    tables = {**read.tables, "trials": trials.set_column(at, "test_loss", changed)}
    write_edition(store, tables, read.origin)
    before = load(store.path)
    ids = list(before.planned()["trial_id"])
    student(out / "small", ids[0]).unlink()
    flags = ["--out", str(out), "--data", str(small.parent.parent / "images"), "--remake-students"]
    assert run_study(SMALL, *flags) == 0
    said = capsys.readouterr()
    assert "0 of 1 lost networks were made again" in said.err
    assert "trained again, its test_loss is" in " ".join((said.out + said.err).split())
    assert not student(out / "small", ids[0]).exists()
    pd.testing.assert_frame_equal(load(store.path).trials, before.trials)


def runs() -> list[str]:
    """The runs whose files this machine has."""
    folder = node_cache() / "runs"
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@pytest.mark.parametrize(
    ("flags", "shares"),
    [
        (["--cohort-size", "3"], False),  # a cohort for each seed: nobody would read it
        (["--cohort-size", "1"], True),
        (["--cohort-size", "2"], True),
        (["--cohort-size", "3", "--shared-batches"], True),  # two cohorts of one stream
        (["--cohort-size", "6", "--shared-batches"], False),
    ],
)
def test_cohorts_share_a_teachers_forwards_if_several_see_the_same_batches(
    flags: list[str], shares: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    plan = tiny_plan(tmp_path / "out", "--seeds", "2", *flags)
    put_teachers(plan)
    tokens: list[str] = []

    def keep(plan: Plan) -> None:
        tokens.append(plan.context.sharing)
        if files := node_files(plan.context.sharing, "teacher"):
            files.write("epoch", b"")

    train_students(plan, Recorder(keep if shares else lambda plan: tokens.append(plan.context.sharing)), Stop())
    (token,) = tokens
    assert bool(token) is shares
    assert not runs()  # removed at the end


def test_what_a_run_shares_is_removed_if_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    plan = tiny_plan(tmp_path / "out", "--cohort-size", "1")
    put_teachers(plan)

    def fail(plan: Plan) -> None:
        files = node_files(plan.context.sharing, "teacher")
        assert files is not None
        files.write("epoch", b"")
        assert runs() == [plan.context.sharing]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        train_students(plan, Recorder(fail), Stop())
    assert not runs()


def test_a_search_pays_once_for_the_teachers_forwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And finds the same."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    forwards = counted_forwards(monkeypatch)
    flags = ("--trials", "4", "--cohort-size", "1")
    assert search(tmp_path / "shared", *flags) == 0
    shared, trials = len(forwards), stored(tmp_path / "shared")
    assert not runs()
    monkeypatch.setattr(training, "sharing_teachers", contextlib.nullcontext)
    assert search(tmp_path / "apart", *flags) == 0
    apart = stored(tmp_path / "apart")
    columns = ["trial_id", "state", "epochs", "val_acc", "test_acc", "test_loss"]
    pd.testing.assert_frame_equal(*(of[columns].sort_values("trial_id", ignore_index=True) for of in (trials, apart)))
    assert shared < len(forwards) - shared
