"""The Tune adapter without Ray's processes, and what a worker must have installed for it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune

from scl.plan.context import Job
from scl.run.ray.deaths import Death, Kind
from scl.run.ray.tune import CohortSearcher, DriverCalls, DriverStopper, EventForwarder, Throttled, TuneRun, with_names
from scl.study.config import Config

# Packages of the driver that a cluster's nodes may lack, as scl imports them. Ray and torch may import some themselves;
# both need filelock.
NOT_ON_WORKERS = ["jinja2", "optuna", "plotly", "psutil", "rich", "scipy", "sqlalchemy", "statsmodels"]
ON_WORKERS = "import ray.tune, torch, torchvision, numpy, pandas, pyarrow.dataset, safetensors.torch"


@pytest.mark.slow
def test_workers_need_only_what_the_survey_asks_for() -> None:
    script = f"""
import sys
{ON_WORKERS}
for name in {NOT_ON_WORKERS}:
    sys.modules[name] = None  # Python raises ModuleNotFoundError
import scl.run.ray.tune, scl.run.ray.rpc
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


SEARCH = TuneRun("search", 1, 1, 0.0, batch=2)
KNOWN = TuneRun("students", 1, 1, 0.0, cohorts=[["a", "b"], ["c"]])


def slot(key: str, *jobs: str) -> dict[str, Any]:
    """What Tune gets for a slot whose first cohort has these jobs."""
    return {"slot": key, "name": ", ".join(jobs)}


class Post:
    """A mailbox that keeps what it is given: slot → the cohorts that were put there; None ends it."""

    def __init__(self) -> None:
        self.cohorts: dict[str, list[Any]] = {}
        self.stopped: list[str] = []
        self.put = SimpleNamespace(remote=self._put)
        self.stop = SimpleNamespace(remote=self.stopped.append)

    def _put(self, key: str, letter: bytes | None) -> None:
        self.cohorts.setdefault(key, []).append(letter and pickle.loads(letter).cohort)


class Driver:
    """Records calls. `answers`: what `stop`, `suggest` and `epoch` return."""

    def __init__(self, **answers: Any) -> None:
        self.calls: list[Any] = []
        names = ("events", "notice", "stop", "halt", "failed", "suggest", "epoch", "ended", "cohort_ended")
        self.functions = DriverCalls(**{name: self._function(name, answers.get(name)) for name in names})

    def _function(self, name: str, answer: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if name != "stop":
                self.calls.append((name, *arguments))
            return answer

        return call


def test_a_search_trains_batches_of_suggestions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda value: value)
    post = Post()
    driver = Driver(suggest={"a": 1, "b": 2}, epoch=True)
    searcher = CohortSearcher(driver.functions, SEARCH, post, {}, {})
    assert searcher.suggest("t1") == slot("t1", "a", "b")
    assert post.cohorts == {"t1": [["a", "b"]]}
    events = [{"job": "a", "row": {"epoch": 1, "val_acc": 0.5}}, {"job": "b", "row": {"state": "completed"}}]
    searcher.on_trial_result("t1", {"events": events})
    searcher.on_trial_complete("t1")
    assert driver.calls == [
        ("suggest", 2),
        ("epoch", "a", {"epoch": 1, "val_acc": 0.5}),
        ("ended", "b", "completed"),
        ("cohort_ended", ["a", "b"]),
    ]
    assert post.stopped == ["a"]


def test_a_search_ends_without_suggestions_and_a_stop_ends_no_cohort() -> None:
    driver = Driver(suggest={}, stop=True)
    searcher = CohortSearcher(driver.functions, SEARCH, Post(), {}, {})
    assert searcher.suggest("t1") == tune.search.Searcher.FINISHED
    searcher.on_trial_complete("t1")
    assert driver.calls == []


def test_known_cohorts_train_in_order_and_come_back_in_halves() -> None:
    driver = Driver()
    searcher = CohortSearcher(driver.functions, KNOWN, Post(), {}, {})
    forwarder = EventForwarder(driver.functions, searcher)
    driver.functions = DriverCalls(**{**vars(driver.functions), "ended": None, "epoch": None, "cohort_ended": None})
    searcher.driver = driver.functions
    assert searcher.suggest("t1") == slot("t1", "a", "b")
    searcher.on_trial_result("t1", {"events": [{"job": "b", "row": {"epoch": 1, "val_acc": 0.5}}]})
    searcher.on_trial_complete("t1", error=True)
    trial = SimpleNamespace(trial_id="t1", pickled_error_file=None, error_file=None)
    forwarder.on_trial_error(1, [], trial)
    assert [searcher.suggest(f"t{i}") for i in (2, 3, 4)] == [slot("t2", "a"), slot("t3", "b"), slot("t4", "c")]
    assert searcher.suggest("t5") is None
    searcher.died("t2", Death(Kind.RAISED, "ValueError: wrong"))
    assert [call[0] for call in driver.calls] == ["notice", "failed"]
    assert driver.calls[1] == ("failed", ["a"], "ValueError: wrong")
    for key in ("t3", "t4"):
        searcher.on_trial_complete(key)
    assert searcher.suggest("t5") == tune.search.Searcher.FINISHED


def test_a_reported_death_ends_its_cohort_and_a_cause_is_told() -> None:
    driver = Driver()
    post = Post()
    searcher = CohortSearcher(driver.functions, KNOWN, post, {}, {})
    searcher.suggest("t1")
    searcher.on_trial_result("t1", {"death": ("RAISED", "Traceback:\nValueError: wrong"), "free": True})
    searcher.on_trial_result("t1", {"death": ("RAISED", "Traceback:\nValueError: wrong"), "free": True})
    searcher.on_trial_result("t1", {"free": True})
    searcher.on_trial_result("t1", {"death": ("REFUSED", "the teacher is missing"), "free": True})
    assert post.cohorts == {"t1": [["a", "b"], ["a"], ["b"], ["c"], None]}  # the worker lives on
    said = [call for call in driver.calls if call[0] in ("notice", "failed")]
    assert said == [
        (
            "notice",
            "the training raised an error (ValueError: wrong); its trials continue from their last checkpoints",
        ),
        ("failed", ["a"], "Traceback:\nValueError: wrong"),
        ("failed", ["c"], "the teacher is missing"),
    ]


def free(searcher: CohortSearcher, *slots: str) -> None:
    """These slots report that they have trained their cohorts."""
    for key in slots:
        searcher.on_trial_result(key, {"free": True})


def test_a_slot_trains_one_cohort_after_the_other() -> None:
    post, run = Post(), replace(KNOWN, cohorts=[["a"], ["b"], ["c"], ["d"]])
    searcher = CohortSearcher(Driver().functions, run, post, {"a": 1, "c": 3}, {})  # type: ignore[dict-item]
    searcher.suggest("t1")
    searcher.suggest("t2")
    free(searcher, "t2", "t2", "t1", "t2")
    assert post.cohorts == {"t1": [["a"], None], "t2": [["b"], ["c"], ["d"], None]}
    assert searcher.jobs == {}  # of cohorts that have ended
    searcher.on_trial_complete("t1")
    assert searcher.suggest("t3") == tune.search.Searcher.FINISHED


@pytest.mark.parametrize("where", ["jobs", "shared"])
def test_what_one_worker_learnt_bounds_the_cohorts_of_all(where: str) -> None:
    post, run = Post(), replace(KNOWN, cohorts=[["a", "b", "c", "d"], ["e", "f", "g", "h"]])
    given = {name: Job(Config(lr=0.1 + i / 100), 0) for i, name in enumerate("abcdefgh")}
    jobs = [given, {}] if where == "jobs" else [{}, given]  # those that have initial weights
    searcher = CohortSearcher(Driver().functions, run, post, *jobs)
    searcher.suggest("t1")
    searcher.on_trial_result("t1", {"crowded": (["a", "b", "c", "d"],)})
    assert [searcher.suggest(slot)["name"] for slot in ("t2", "t3")] == ["e, f", "g, h"]


def test_a_slot_that_has_ended_is_followed_by_another_if_a_cohort_comes_back() -> None:
    post, driver = Post(), Driver()
    searcher = CohortSearcher(driver.functions, KNOWN, post, {}, {})
    searcher.suggest("t1")
    searcher.suggest("t2")
    free(searcher, "t2")  # [c] is the last, but [a, b] may come back
    searcher.on_trial_complete("t2")
    assert post.cohorts["t2"] == [["c"], None]
    assert searcher.suggest("t3") is None
    searcher.died("t1", Death(Kind.CRASHED, "killed"))
    assert [searcher.suggest(key) for key in ("t3", "t4")] == [slot("t3", "a"), slot("t4", "b")]


def test_a_slot_waits_while_a_search_has_no_suggestion_yet() -> None:
    """Its process stays: a new one would import everything again."""
    post, answers = Post(), [{"a": 1}, {"b": 2}, None, None, {"c": 3}, {"d": 4}, {}, {}]
    driver = Driver()
    functions = DriverCalls(**{**vars(driver.functions), "suggest": lambda size: answers.pop(0)})
    searcher = CohortSearcher(functions, SEARCH, post, {}, {})
    searcher.suggest("t1")
    searcher.suggest("t2")
    assert searcher.suggest("t3") is None
    free(searcher, "t1")
    assert post.cohorts == {"t1": [["a"]], "t2": [["b"]]}
    searcher.on_trial_complete("t2", error=True)
    searcher.died("t2", Death(Kind.LOST, "the node"))  # its cohort goes to the slot that waits
    assert post.cohorts == {"t1": [["a"], ["b"]], "t2": [["b"]]}
    free(searcher, "t1")
    assert post.cohorts["t1"] == [["a"], ["b"], ["c"]]


def test_a_slot_that_waits_and_dies_waits_no_more() -> None:
    post, answers = Post(), [{"a": 1}, {"b": 2}, None, {"c": 3}, {}]
    functions = DriverCalls(**{**vars(Driver().functions), "suggest": lambda size: answers.pop(0)})
    searcher = CohortSearcher(functions, SEARCH, post, {}, {})
    searcher.suggest("t1")
    searcher.suggest("t2")
    free(searcher, "t1")
    assert searcher.idle == ["t1"]
    searcher.died("t1", Death(Kind.LOST, "the node"))
    free(searcher, "t2")
    assert post.cohorts == {"t1": [["a"]], "t2": [["b"], ["c"]]}


def test_a_search_hears_what_failed() -> None:
    driver = Driver(suggest={"a": 1})
    searcher = CohortSearcher(driver.functions, SEARCH, Post(), {}, {})
    searcher.suggest("t1")
    searcher.died("t1", Death(Kind.REFUSED, "why"))
    assert driver.calls == [("suggest", 2), ("failed", ["a"], "why"), ("cohort_ended", ["a"])]


def test_workers_that_end_with_the_run_fail_nothing() -> None:
    driver = Driver(stop=True)
    CohortSearcher(driver.functions, KNOWN, Post(), {}, {}).died("t1", Death(Kind.REFUSED, "why"))
    assert driver.calls == []


def test_messages_reach_the_driver() -> None:
    driver = Driver()
    forwarder = EventForwarder(driver.functions, CohortSearcher(driver.functions, KNOWN, Post(), {}, {}))
    forwarder.on_trial_result(1, [], None, {"events": ({"job": "a"}, {"job": "b"})})
    forwarder.on_trial_recover(1, [], None)
    forwarder.on_trial_result(2, [], None, {"events": ()})
    assert [call[0] for call in driver.calls] == ["events", "notice"]


@pytest.mark.parametrize("stop", [True, False])
def test_a_reason_to_halt_reaches_the_driver(stop: bool) -> None:
    driver = Driver(stop=stop)
    stopper = DriverStopper(driver.functions)
    assert stopper("t1", {"halt": "the disk is full"}) is stop
    assert stopper("t1", {"events": ()}) is stop
    assert stopper.stop_all() is stop
    assert driver.calls == [("halt", "the disk is full")]


def test_snapshots_hold_nothing_of_the_driver() -> None:
    driver = Driver().functions  # its functions cannot be pickled
    for part in (
        (searcher := CohortSearcher(driver, KNOWN, Post(), {}, {})),
        EventForwarder(driver, searcher),
        DriverStopper(driver),
    ):
        assert vars(pickle.loads(pickle.dumps(part))) == {}


def test_a_throttled_function_is_called_seldom_and_not_after_it_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], []
    monkeypatch.setattr("scl.run.ray.tune.time", SimpleNamespace(monotonic=lambda: clock[0]))
    throttled = Throttled(lambda: bool(calls.append(clock[0])) or clock[0] >= 1)
    for step in range(40):
        clock[0] = step / 10
        assert throttled() is (clock[0] >= 1)
    assert calls == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(("several", "name"), [(False, "kd · seed 0"), (True, "first kd · seed 0")])
def test_an_actor_has_the_name_of_its_cohort_and_its_process_the_title(
    several: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr("ray._raylet.setproctitle", titles.append)
    trainable = with_names(tune.with_resources(train, {"cpu": 3}), several)
    assert (trainable.__name__, trainable.__qualname__) == ("Cohort", "Cohort")
    assert trainable.default_resource_request({}).required_resources == {"CPU": 3.0}  # type: ignore[attr-defined]
    monkeypatch.setattr(trainable.__mro__[2], "step", lambda self: {"done": True})
    actor = trainable.__new__(trainable)
    actor.config = {"name": "kd · seed 0"}
    assert repr(actor) == name
    actor.config = {"name": "at · seed 1"}  # Tune gives it another cohort
    assert actor.step() == {"done": True}
    assert titles == ["ray::at · seed 1"]


def train(config: dict[str, Any]) -> None:
    pass
