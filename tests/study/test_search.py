"""Searches: what is refused, and what a declaration comes to."""

from __future__ import annotations

import dataclasses

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.params import with_params
from scl.study.search import PRUNERS, SAMPLERS, Search, architectures
from scl.study.space import Branch, Choice, Float, Int, changes, point_of

SPACE = {"weight.kd": Float(0.1, 10.0, log=True), "kd.temperature": Float(1.0, 16.0), "self_taught": Choice((0, 8))}
METHOD = Branch({"kd": {"weight.kd": Float(0.1, 1.0), "kd.temperature": Float(1.0, 8.0)}, "none": {}})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"space": {"weigth.kd": Float(0.1, 1)}}, "'weigth.kd'"),
        ({"space": {"weight.kdd": Float(0.1, 1)}}, "unknown loss 'kdd'"),
        ({"space": {"learning_rate": Float(0.1, 1)}}, "unknown field 'learning_rate'"),
        ({"space": {"kd.temperature": Float(1, 2)}}, "unknown loss 'kd'"),
        ({"space": {"self_taught": Float(1, 2)}}, "must be a whole number"),
        ({"space": {"model": Choice(("plain5", "plain6"))}}, "unknown model 'plain6'"),
        ({"space": {"augment": Choice(("crop+rrc", "none"))}}, "rrc and crop exclude each other"),
        ({"space": {"augment": Choice(("flip+rrc", "none"))}}, "'augment': write 'flip.rrc' as 'rrc.flip', as results"),
        ({"space": {"lr": Float(0.1, 0.1)}}, "low must be below high, got 0.1 and 0.1"),
        ({"space": {"lr": Choice((0.1,))}}, "a choice needs two different values"),
        ({"space": {"lr": Float(0.0, 0.1, log=True)}}, "log scale must start above 0, got 0.0"),
        ({"space": {"lr": Float(0.1, float("nan"))}}, "finite"),
        ({"space": {"epochs": Int(1, 5, step=0)}}, "step must be 1 or more"),
        ({"space": {"lr": (0.1, 0.2)}}, "a Float, an Int, a Choice or a Branch"),
        ({"space": {}}, "needs an objective and a parameter"),
        ({"objectives": ("test_acc",)}, "unknown objective 'test_acc'"),
        ({"trials": 0}, "trials must be a whole number of 1 to 100,000, got 0"),
        ({"reduction": 1}, "reduction must be a whole number of 2 to 100,000, got 1"),
        ({"sampler": "tpee"}, "unknown sampler 'tpee' .did you mean 'tpe'.*valid: tpe, gp, cmaes, random, qmc"),
        ({"pruner": "asha"}, "unknown pruner 'asha'; valid: auto, halving, hyperband, median, wilcoxon, none"),
        ({"prune": 1}, "prune must be True or False"),
        ({"prune": False, "pruner": "median"}, "prune=False and pruner='median' exclude each other"),
        ({"pruner": "halving", "objectives": ("val_acc", "macs")}, "prunes by one objective, got 2"),
        ({"pruner": "median", "objectives": ("params",)}, "judges by the course of a metric, and params is known"),
        ({"pruner": "wilcoxon", "seeds": 4}, "needs 5 or more, got 4: .* before the last seed is 0.125"),
        ({"sampler": "cmaes", "objectives": ("val_acc", "macs")}, "cmaes takes one objective, got 2"),
        ({"sampler": "cmaes", "space": {"lr": Float(0.1, 0.2), "epochs": Choice((1, 2))}}, "needs 2 .* has 1"),
        *(
            ({"sampler": s, "space": {"method": METHOD}}, f"sampler {s} cannot search parameters within branches")
            for s in ("gp", "qmc")
        ),
        ({"seeds": 0}, "seeds must be a whole number of 1 to 1,000, got 0"),
        ({"seeds": 2, "seed": 999}, r"winners have the seeds from 1000; give seeds=1 \(--trial-seeds 1\)"),
        ({"seeds": 900, "trials": 1000}, r"900,000 trials.*fewer trials \(--trials\) or seeds \(--trial-seeds\)"),
        ({"terminator": 0}, "terminator must be a whole number of 1"),
        ({"terminator": 5, "objectives": ("val_acc", "macs")}, r"\(--terminate\): several objectives have a front"),
        ({"constraints": {"flops": 5}}, "unknown constraint 'flops'"),
        ({"constraints": {"latency_ms": -1}}, "must be a finite number above 0, got -1"),
        ({"space": {"width": Float(0.1, 0.2)}, "constraints": {"latency_ms": 5}}, "more than 200 networks"),
        ({"space": {"method": Branch({"kd": {"kd.temperature": Float(1, 2)}, "b": {}})}}, "where method = 'kd'"),
        ({"space": {"method": Branch({"kd": {"weight.kdd": Float(1, 2)}, "b": {}})}}, "unknown loss 'kdd'"),
        ({"space": {"schedule": Branch({"cosine": {}, "cosin": {}})}}, "cosin"),
        ({"space": {"share.kdd": Float(0.1, 1)}}, "unknown loss 'kdd'"),
        ({"space": {"share.kd": Float(0.0, 1)}}, "share must be a finite number above 0"),
        ({"space": {"kd.share": Float(0.1, 1), "weight.kd": Float(0.1, 1)}}, "varies .* shares .*; write share.kd"),
        ({"space": {"kd.warmup": Int(1, 2), "weight.kd": Float(0.1, 1)}}, "varies fields, weights, shares and opt"),
        ({"start": ({"weight.kd": 100.0},)}, "lies outside"),
        ({"start": ({"lr": 0.1},)}, "unknown parameter 'lr'"),
    ],
)
def test_bad_searches_are_refused_by_name(fields: dict[str, object], message: str) -> None:
    search = dataclasses.replace(Search(SPACE), **fields)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        search.check(Config())


def test_a_valid_search_passes_and_may_fix_parameters() -> None:
    search = Search(SPACE, start=({"weight.kd": 1.0, "self_taught": 8},))
    search.check(Config())
    fixed = search.without({"self_taught": "8", "kd.temperature": "4"})
    assert list(fixed.space) == ["weight.kd"]
    assert fixed.template == {"self_taught": 8, "kd.temperature": 4.0}
    assert fixed.start == ({"weight.kd": 1.0},)
    with pytest.raises(UserError, match="--fix self_taught: unknown value '9'; valid: 0, 8"):
        search.without({"self_taught": "9"})
    with pytest.raises(UserError, match="unknown parameter 'k'"):
        search.without({"k": "9"})


def test_branches_are_fixed_with_what_they_bring() -> None:
    search = Search({"method": METHOD, "lr": Float(0.01, 0.1)}, start=({"method": "kd", "weight.kd": 0.5, "lr": 0.05},
                    {"method": "none", "lr": 0.02}))  # fmt: skip
    search.check(Config())
    fixed = search.without({"kd.temperature": "4", "method": "kd"})
    assert fixed.space == {"weight.kd": Float(0.1, 1.0), "lr": Float(0.01, 0.1)}
    # The template has the loss whose option is held.
    assert fixed.template == {"kd.temperature": 4.0, "weight.kd": 0.1}
    assert fixed.start == ({"weight.kd": 0.5, "lr": 0.05},)
    assert search.without({"method": "none"}).space == {"lr": Float(0.01, 0.1)}


@pytest.mark.parametrize(
    ("fields", "pruner", "judged_by"),
    [
        ({}, "halving", "epochs"),
        ({"prune": False}, "none", ""),
        ({"objectives": ("val_loss",)}, "none", ""),
        ({"objectives": ("val_acc", "macs")}, "none", ""),
        ({"pruner": "none"}, "none", ""),
        ({"objectives": ("val_loss",), "pruner": "hyperband"}, "hyperband", "epochs"),
        ({"pruner": "wilcoxon", "seeds": 5}, "wilcoxon", "seeds"),
    ],
)
def test_the_pruner_in_force(fields: dict[str, object], pruner: str, judged_by: str) -> None:
    search = Search(SPACE, **fields)  # type: ignore[arg-type]
    search.check(Config())
    assert (search.pruner_name, search.judged_by) == (pruner, judged_by)


def test_every_name_is_accepted() -> None:
    for sampler in SAMPLERS:
        for pruner in PRUNERS:
            Search(SPACE, sampler=sampler, pruner=pruner, seeds=5, constraints={"params": 1e6, "val_acc": 0.5},
                   terminator=3).check(Config())  # fmt: skip


def test_the_networks_of_a_space_are_listed() -> None:
    fields = ("width", "self_taught")
    space = {"lr": Float(0.1, 0.2), "width": Choice((0.5, 1.0)), "self_taught": Int(0, 4, step=2)}
    assert architectures(space, fields, 6) == [{"width": w, "self_taught": k} for w in (0.5, 1.0) for k in (0, 2, 4)]
    assert architectures(space, fields, 5) is None
    assert architectures({"width": Float(0.1, 0.2)}, fields, 99) is None
    size = Branch({"narrow": {"width": 0.25}, "wide": {"width": Choice((0.5, 1.0))}, "same": {"width": 0.25}})
    assert architectures({"size": size}, fields, 9) == [{"width": 0.25}, {"width": 0.5}, {"width": 1.0}]


def test_shares_are_searched_as_weights_are() -> None:
    shares = {"share.kd": Float(0.1, 3.0, log=True), "kd.temperature": Float(1.0, 8.0)}
    search = Search({"method": Branch({"kd": shares, "none": {}}), "share.at": Float(0.1, 3.0)},
                    template={"losses": {"at": 10.0}}, start=({"method": "kd", "share.kd": 1.0},))  # fmt: skip
    base = with_params(Config(), search.template)
    search.check(base)
    point = {"method": "kd", "share.kd": 0.5, "kd.temperature": 2.0, "share.at": 0.2}
    config = with_params(base, changes(search.space, point))
    assert {name: (t.weight, t.share) for name, t in config.losses.items()} == {"kd": (1.0, 0.5), "at": (1.0, 0.2)}
    assert point_of(config, search.space) == point
    fixed = search.without({"method": "kd", "kd.temperature": "4"})
    assert fixed.template == {"losses": {"at": 10.0}, "kd.temperature": 4.0, "share.kd": 0.1}
