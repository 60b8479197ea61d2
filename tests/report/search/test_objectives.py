"""What a search optimised."""

from __future__ import annotations

from scl.report.facts import Facts, gather
from scl.report.results import Results
from scl.report.search.objectives import limits, objectives


def test_objectives_are_read_from_a_dict_or_a_list(searched: Facts) -> None:
    for told, expected in (
        ({"macs": "minimize", "val_acc": "maximize"}, [("macs", False), ("val_acc", True)]),
        ([{"name": "val_acc", "direction": "max"}], [("val_acc", True)]),
        ({"nothing_stored": "minimize"}, [("val_acc", True)]),
        (None, [("val_acc", True)]),
    ):
        study = {**searched.study, "objectives": told}
        again = gather(Results(searched.results.trials, searched.results.epochs, study))
        assert [(o.name, o.maximise) for o in objectives(again)] == expected


def test_constraints_are_those_of_the_search(searched: Facts) -> None:
    study = {**searched.study, "search": {"constraints": {"macs": 5}}}
    again = gather(Results(searched.results.trials, searched.results.epochs, study))
    assert (limits(again), limits(searched)) == ({"macs": 5.0}, {})
