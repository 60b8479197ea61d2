"""`--declare`: write down what a study will compare, and by which rule, before anything of it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scl.errors import UserError
from scl.plan.plan import Plan, missing_teachers
from scl.report.formatting import moment, plural
from scl.report.registered import rule_in_words
from scl.run.declared import pilot_of, trials_at
from scl.run.provenance import earlier_record, study_record
from scl.search.journal import JOURNAL
from scl.search.trials import stored_space
from scl.stats import LEVEL
from scl.store.declaration import NAME, SIGNATURE, read_declaration, signed, write_declaration
from scl.store.files import Folder
from scl.store.schema import now
from scl.store.study_file import read_study, write_study
from scl.store.tables import read_trials
from scl.study.identity import requested
from scl.terminal import say, show

FEWEST = 2  # seeds: a comparison of one has no interval
# Fields of study.json that a declaration repeats.
REPEATED = (
    "study", "question", "baseline", "arms", "metric", "direction", "constraints", "selection", "scale", "roles",
    "margin", "published", "command", "asked", "git", "versions", "data",
)  # fmt: skip
KEPT = ("pictures", "merged")  # of study.json, by each declaration


def check_nothing_trained(store: Folder) -> None:
    """Raises UserError if a trial of the study has trained, or has begun to."""
    rows, began = len(read_trials(store)), (store / "checkpoints").folders()
    if not rows and not began and not store.exists(JOURNAL):
        return
    what = f"has {plural(rows, 'trial')} already" if rows else "has a trial that began to train"
    try:
        known = read_declaration(store, read_study(store))
    except UserError:
        known = None
    declared = f"; or leave --declare out: this store was declared on {moment(known.when)}" if known else ""
    raise UserError(
        f"--declare: {store} {what}, and a study is declared before its first trial, whichever settings that had: who "
        "has seen results can choose by them. Declare it in another --out, with seeds that nobody has seen, as in "
        f"--seed-list 10-14{declared}"
    )


def declare(plan: Plan) -> int:
    """Write the declaration of a plan into study.json and declared.json, and say its hash. Returns the exit code.

    Raises:
        UserError: nothing could be tested by what would be declared.
    """
    store, earlier = plan.context.store, earlier_record(plan)
    before = read_declaration(store, earlier)
    # Nobody has seen anything, so margin, looks and intervals of an earlier declaration are replaced too.
    record = study_record(plan, {name: earlier[name] for name in KEPT if name in earlier})
    declared = declaration(plan, record)
    write_study(store, {**record, "looks": [], "declaration": declared})
    write_declaration(store, declared)
    if before:
        say(f"the declaration of {moment(before.when)} is replaced; nothing has trained since then")
    rule, arms = declared["rule"], len(declared["arms"])
    asked = len(declared["contrasts"]) + bool(declared["against_teacher"])
    contrasts = plural(asked, "contrast") if asked else "every arm against the baseline"
    show(f"declared: {contrasts}, {plural(arms, 'arm')}, {plural(len(declared['seeds']), 'seed')}")
    show(f"rule: {rule_in_words(declared)}")
    commit = (declared["git"] or {}).get("commit")
    if not commit or (declared["git"] or {}).get("dirty"):
        say(
            "note: the code is not that of a commit, so the declaration does not fix it; commit it first, and declare "
            "again"
        )
    if rule["family"] == 0:
        say("note: the study declares no contrast; Study(contrasts=…) names the differences that it is about")
    show(f"SHA-256 of {store / NAME}: {declared[SIGNATURE]}")
    say(
        "Put the hash, or the file, where its date can be shown: a commit, a preregistration, a letter. That shows "
        "that it is older than the results, which a hash alone does not. The same command without --declare trains"
    )
    return 0


def declaration(plan: Plan, record: Mapping[str, Any]) -> dict[str, Any]:
    """What declared.json holds, signed.

    Args:
        record: the content of study.json for this plan.

    Raises:
        UserError: fewer seeds than an interval needs, or looks that end before the seeds do.
    """
    options, study = plan.options, plan.study
    looks = options.looks or record["planned_looks"]
    seeds = _seeds(plan, looks)
    contrasts = [{"question": c["question"], "weights": c["weights"]} for c in record["contrasts"] or []]
    present = [c for c in contrasts if all(arm in plan.arms or _is_winner(plan, arm) for arm in c["weights"])]
    interval = None
    if options.interval is not None:
        interval = {"between": list(options.between or ()), "width": options.interval, "cap": options.max_seeds}
        interval["pilot_seeds"] = pilot_of(plan)
    teacher = record["teacher"]
    every = sorted(set(plan.teacher_ids.values()))
    return signed(
        {
            **{name: record.get(name) for name in REPEATED},
            "when": now().isoformat(timespec="seconds"),
            "contrasts": contrasts,
            "against_teacher": study.against_teacher or None,
            "seeds": seeds,
            "plan": [
                {"arm": trial.arm, "seed": trial.seed, "trial_id": trial.trial_id}
                for trial in trials_at(plan, plan.arms, seeds)
            ],
            "search": _search(plan),
            "rule": {
                "test": "paired t by seed, two-sided; trials that collapsed are left out",
                "level": LEVEL,
                "family": len(present) + bool(study.against_teacher in plan.arms),
                "seeds": len(seeds),
                "stopping": "interval" if interval else "looks" if looks else "all seeds",
                "looks": list(looks) if looks else None,
                "interval": interval,
            },
            "teacher": {
                **{name: teacher[name] for name in ("model", "width", "epochs", "config", "per_seed", "source", "ids")},
                # A teacher that was there before may have been seen.
                "trained_before": len(every) - len(missing_teachers(plan, every=True)),
            },
        }
    )


def _seeds(plan: Plan, looks: Any) -> list[int]:
    """The seeds that are declared: the plan's, and those that further declared looks need."""
    seeds = plan.seeds
    if looks and len(seeds) > looks[-1]:
        own = ",".join(map(str, looks))
        raise UserError(
            f"--looks {own} ends before the {len(seeds)} seeds that are declared; the last look has all of them, as in "
            f"--looks {own},{len(seeds)}"
        )
    if not seeds:
        raise UserError(
            "--declare: this search re-runs no winner, so nothing is tested that could be declared; declare a study "
            "whose Search has winners=1 or more"
        )
    if max(len(seeds), looks[-1] if looks else 0) < FEWEST:
        raise UserError(
            f"--declare: {plural(len(seeds), 'seed')} gives no interval, so no contrast could be answered; declare "
            f"{FEWEST} seeds or more, as in --seeds 5"
        )
    more = (looks[-1] if looks else 0) - len(seeds)
    return [*seeds, *range(seeds[-1] + 1, seeds[-1] + 1 + more)]


def _is_winner(plan: Plan, arm: str) -> bool:
    return plan.study.search is not None and arm not in plan.study.arms


def _search(plan: Plan) -> dict[str, Any] | None:
    search = plan.study.search
    if search is None:
        return None
    return {
        "space": stored_space(search.space),
        "trials": search.trials if plan.options.trials is None else plan.options.trials,
        "seed": search.seed,
        "seeds": search.seeds,
        "sampler": search.sampler,
        "pruner": search.pruner_name,
        "objectives": list(search.objectives),
        "constraints": dict(search.constraints) or None,
        "terminator": search.terminator,
        "winners": search.winners,
        "template": requested(plan.template),
    }
