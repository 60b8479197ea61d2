"""What a study declared with `--declare`, beside what it has become: the declared answers, and what came later.

The declared study is a study of its own: its trials, seeds, metric and contrasts, from the rows of the store. Its
answers are therefore those of `findings`, at the declared rule, whatever the present run adds or changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from scl.report.agreed import SETTINGS, Agreed, agreed_of, changes, plan_of, winners_of
from scl.report.declared import DeclaredContrast
from scl.report.facts import Facts, gather
from scl.report.findings import answered, contrast, declared_in_short, goal, goals, verdict
from scl.report.formatting import enumerated, format_seeds, listing, moment, name_of, plain, plural
from scl.report.looks import seeds_of
from scl.store.declaration import Declaration, read_declaration
from scl.study.contrasts import direction
from scl.study.metrics import DEFAULT, METRICS


@dataclass(frozen=True)
class Registered:
    """A declaration beside the study. facts: of the declared study. changes: a sentence each; empty if all is as it was
    declared. seeds: those that the rule asks for now: all, or those of the present look."""

    declaration: Declaration
    agreed: Agreed
    facts: Facts
    changes: tuple[str, ...]
    seeds: list[int]

    @property
    def signed(self) -> str:
        """When it was declared, and the beginning of its hash."""
        return f"{moment(self.declaration.when)} (SHA-256 {self.declaration.signature[:12]}…)"


def registered(facts: Facts) -> Registered | None:
    """The declaration of a study; None if it has none that can be read."""
    declaration = read_declaration(facts.results.store, facts.study)
    if declaration is None or not declaration.parts:
        return None
    agreed = agreed_of(declaration)
    seeds = _seeds_now(facts, agreed)
    declared = gather(replace(facts.results, study=_record(facts.study, agreed, seeds)))
    found = [*changes(declaration, facts.study), *_before(declared, agreed)]
    return Registered(declaration, agreed, declared, tuple(found), seeds)


def rule_in_words(declared: Mapping[str, Any]) -> str:
    """The rule of a declaration: what is tested, at which level, and when."""
    rule = declared["rule"]
    metric = METRICS.get(str(declared.get("metric")), METRICS[DEFAULT]).title
    family, level = int(rule.get("family") or 0), f"{100 * float(rule.get('level') or 0.95):.5g} %"
    if family == 0:
        test = f"every arm against the baseline by {metric}, paired by seed, simultaneous intervals at {level}"
    else:
        test = f"{metric}, {rule.get('test') or 'paired t by seed'}; {level}"
        test += f", corrected for {family} contrasts (Bonferroni)" if family > 1 else ""
    looks, interval = rule.get("looks"), rule.get("interval")
    if looks:
        when = f"looks at {enumerated([str(n) for n in looks])} seeds share the error, and no other look counts"
    else:
        when = f"answered once all {plural(int(rule['seeds']), 'declared seed')} of its arms are done"
    if interval:
        (one, two), pilot = map(name_of, interval["between"]), format_seeds(interval["pilot_seeds"])
        when += (
            f"; {one} and {two} get more seeds once by Stein's rule, after the pilot {pilot}, to at most "
            f"{interval['cap']}"
        )
    return plain(f"{test}; {when}")


def answers(found: Registered) -> list[tuple[str, str]]:
    """The declared questions with their answers at the declared rule, and at no other."""
    facts, agreed = found.facts, found.agreed
    asked = []
    if agreed.against:
        waits = _waits(found, [agreed.against])
        asked.append((f"Does {name_of(agreed.against)} beat its teacher?", waits or goal(facts).partition("? ")[2]))
    for one in facts.declared:
        lacks = f"Not answered: the declaration has no arm {listing(one.missing)}." if one.missing else ""
        asked.append((plain(one.question), lacks or _waits(found, one.weights) or answered(facts, one)))
    return asked or [("Which arms beat the baseline?", _waits(found, agreed.arms) or verdict(facts))]


def in_short(facts: Facts) -> str:
    """What came of what was declared, in front of the verdict."""
    found = registered(facts)
    if found is None:
        return declared_in_short(facts)
    if any(_waits(found, arms) for arms in _asked(found)):
        return f"Declared on {found.signed}: the rule does not answer yet, because declared seeds are not done."
    return declared_in_short(found.facts)


def said(facts: Facts) -> list[str]:
    """What a terminal says of all that was declared, a line each."""
    found = registered(facts)
    if found is None:
        return goals(facts)
    lines = [f"Declared: {question} {answer}" for question, answer in answers(found)]
    lines[0] = lines[0].replace("Declared", f"Declared on {found.signed}", 1)
    lines += [f"Not as declared: {change}." for change in found.changes]
    return lines + [contrast(facts, one) for one in later(facts, found)]


def later(facts: Facts, found: Registered) -> list[DeclaredContrast]:
    """The contrasts of the study that are not in its declaration."""
    return [one for one in facts.declared if direction(one.weights) not in found.agreed.asks]


def _before(facts: Facts, agreed: Agreed) -> Iterable[str]:
    """Declared trials that began before they were declared."""
    rows = facts.trials[facts.trials["trial_id"].isin(list(agreed.written))]
    began = pd.to_datetime(rows["started"], utc=True)
    written = pd.to_datetime(rows["trial_id"].map(agreed.written), utc=True, errors="coerce", format="ISO8601")
    if old := int((began < written).sum()):
        yield f"{plural(old, 'declared trial')} began before the declaration was written"


def _record(study: Mapping[str, Any], agreed: Agreed, seeds: Collection[int]) -> dict[str, Any]:
    """The content of study.json that the declared study would have at these seeds."""
    about, winners = agreed.about, winners_of(study, agreed)
    chosen = {(a, s): i for (a, s), i in plan_of(study).items() if a in winners}
    plan = {at: i for at, i in {**agreed.planned, **chosen}.items() if at[1] in seeds}
    order = [*agreed.arms, *winners]
    looks = agreed.rule.get("looks")
    return {
        **study,
        **{name: about.get(name) for name in (*SETTINGS, "direction")},
        "arms": {**agreed.arms, **{arm: c for arm, c in (study.get("arms") or {}).items() if arm in winners}},
        "seeds": sorted(seeds),
        "contrasts": agreed.contrasts,
        "withdrawn": None,
        "declared": {"arm": agreed.against, "against": "teacher"} if agreed.against else None,
        "planned_looks": looks,
        "plan": [
            {"arm": arm, "seed": seed, "trial_id": plan[arm, seed]}
            for arm, seed in sorted(plan, key=lambda at: (at[1], order.index(at[0]) if at[0] in order else len(order)))
        ],
        "looks": [{"when": about["when"], "seeds": agreed.seeds[:n]} for n in _taken(study, agreed, len(seeds))],
        "stein": None,
    }


def _seeds_now(facts: Facts, agreed: Agreed) -> list[int]:
    """The seeds that the rule asks for: all, or those of the last declared look whose trials are done."""
    looks = agreed.rule.get("looks")
    if not looks:
        return agreed.seeds
    done = _done(facts, agreed, agreed.tested)
    reached = [n for n in looks if n <= len(agreed.seeds) and done >= set(agreed.seeds[:n])]
    return agreed.seeds[: max(reached, default=looks[0])]


def _taken(study: Mapping[str, Any], agreed: Agreed, now: int) -> list[int]:
    """The numbers of seeds at the declared looks so far, the present one last."""
    looked = {seeds_of(look) for look in study.get("looks") or []}
    earlier = [n for n in agreed.rule.get("looks") or [] if n < now and frozenset(agreed.seeds[:n]) in looked]
    return [*earlier, now]


def _done(facts: Facts, agreed: Agreed, arms: Iterable[str]) -> set[int]:
    """The declared seeds on which each of these arms has completed as declared."""
    rows = facts.results.trials
    done = set(rows.loc[rows["state"] == "completed", "trial_id"])
    chosen = {at: i for at, i in plan_of(facts.study).items() if at[0] in winners_of(facts.study, agreed)}
    ids = {**agreed.planned, **chosen}
    arms = list(arms)
    return {seed for seed in agreed.seeds if all(ids.get((arm, seed)) in done for arm in arms)}


def _waits(found: Registered, arms: Iterable[str]) -> str:
    """Why a question about these arms has no answer yet; empty if all seeds that the rule asks for are done."""
    done = _done(found.facts, found.agreed, arms) & set(found.seeds)
    if len(done) == len(found.seeds):
        return ""
    return (
        f"Not answered yet: {len(done)} of {plural(len(found.seeds), 'seed')} are done that the declared rule asks for."
    )


def _asked(found: Registered) -> list[list[str]]:
    """The arms of each question."""
    asked = [list(one.weights) for one in found.facts.declared if not one.missing]
    asked += [[found.agreed.against]] if found.agreed.against else []
    return asked or [list(found.agreed.arms)]
