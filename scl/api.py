"""What Python code calls: `scl.run` and `scl.plan`, with the options that the flags of a study file have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scl.errors import UserError, shown
from scl.masking import masked, masked_value
from scl.plain import plain
from scl.plan.estimate import PlanSummary
from scl.report.results import Results, read
from scl.run.run import plan_study, run_study
from scl.store.files import open_folder
from scl.streams import standard_streams
from scl.study.options import Options, options_for
from scl.study.settled import left_out, moved_milestones, settled
from scl.study.study import Study
from scl.terminal import say


def run(study: Study, **options: Any) -> Results:
    """Run a study and return its results, those of earlier runs included: only missing trials train.

    Args:
        study: the study.
        options: the flags of a study file by their names, as in `seeds=5, data="digits", inline=True,
            set={"weight.kd": 2}`; [the options](#options-of-sclrun-and-sclplan) lists them. Values are Python's:
            numbers, True, lists of names, mappings.

    Returns:
        The store as `scl.load` reads it. Failed trials are rows with the state `failed` and their error; a run that
        was interrupted or out of time returns what is finished.

    Raises:
        UserError: an option, a name or the data is wrong; nothing has started.
        RunFailed: the run could not go on, such as on a full disk; finished trials are kept.

    Example:
        import scl

        study = scl.Study(
            name="example",
            question="Does KD help?",
            arms={"baseline": {}, "kd": {"ce": 0.1, "losses": {"kd": 0.9}}},
            base=scl.Config(model="plain3", width=0.125, epochs=1, batch_size=64, lr=0.05),
            teacher=scl.Config(model="plain5", width=0.125, epochs=1, batch_size=64, lr=0.05),
        )
        results = scl.run(study, seeds=2, inline=True, limit=100, out="results")
        print(results.verdict())
    """
    study, chosen = _settled(study, options)
    if chosen.plan:
        raise UserError("plan=True prints a plan on the command line; in Python call scl.plan(study, …)")
    with standard_streams():
        run_study(study, chosen)
    return read(open_folder(chosen.out, reading=True) / study.name)


def plan(study: Study, **options: Any) -> PlanSummary:
    """What a run with these options would do, and what it would cost. Trains nothing.

    Args:
        study: the study.
        options: as for `scl.run`.

    Returns:
        Numbers; `print` shows the text of `--plan`.

    Raises:
        UserError: an option, a name or the data is wrong.

    Example:
        import scl

        study = scl.Study(
            name="example",
            question="Does KD help?",
            arms={"baseline": {}, "kd": {"ce": 0.1, "losses": {"kd": 0.9}}},
            base=scl.Config(model="plain3", width=0.125, epochs=1, batch_size=64, lr=0.05),
            teacher=scl.Config(model="plain5", width=0.125, epochs=1, batch_size=64, lr=0.05),
        )
        planned = scl.plan(study, seeds=5, inline=True, limit=100, out="results")
        print(planned.missing, planned.wall_seconds)
    """
    study, chosen = _settled(study, options)
    if chosen.report_only:
        raise UserError("report_only=True trains nothing, so there is nothing to plan; drop it, or call scl.run")
    return plan_study(study, chosen)


def _settled(study: Study, options: dict[str, Any]) -> tuple[Study, Options]:
    if not isinstance(study, Study):
        raise UserError(f"the first argument is a scl.Study, got {shown(study)}")
    options = {name: plain(value) for name, value in options.items()}
    given = {n: shown(masked_value(v)) if isinstance(v, str) else masked(shown(v)) for n, v in options.items()}
    call = ", ".join(["study", *(f"{name}={value}" for name, value in given.items())])
    asked = replace(options_for(study, options), command=f"scl.run({call})")
    study, chosen = settled(study, asked)
    for note in filter(None, (moved_milestones(chosen), left_out(study, chosen))):
        say(note)
    return study, chosen
