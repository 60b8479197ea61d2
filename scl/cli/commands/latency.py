"""`scl latency`: how long an exported student takes, here or on the device where it was measured."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from scl.cli.flags import checked
from scl.errors import UserError
from scl.store.files import Folder, open_folder
from scl.store.latencies import write_latency
from scl.store.lookup import stores
from scl.store.results import read_results
from scl.students.latency import given, measure
from scl.study.checks import Check, number, own_class, place, text, whole
from scl.terminal import say, show

MOST = 1_000_000
CHECKS: dict[str, Check] = {
    "runs": whole(1, MOST), "batch": whole(1, MOST), "threads": whole(1, 4096), "ms": number(0), "device": text,
    "results": place, "model": own_class,
}  # fmt: skip


def run(asked: Namespace) -> int:
    values = vars(checked(asked, CHECKS))
    device = values["device"] or ""
    if values["ms"] is not None and not device:
        raise UserError(f"--ms {asked.ms}: say where it was measured, as in --device 'Pixel 8, NNAPI'")
    size, model = (values["batch"], values["threads"]), values["model"]
    if values["ms"] is None:
        found = measure(asked.file, values["runs"], *size, device, model)
    else:
        found = given(asked.file, values["ms"], *size, device, model)
    store = None if values["results"] is None else _store_of(values["results"], found)
    spread = "" if found["low_ms"] is None else f" (5 % to 95 %: {found['low_ms']:.3g} to {found['high_ms']:.3g})"
    show(f"{asked.file}: {found['student']}, {found['bytes'] / 1e6:.2f} MB")
    each = "an image" if found["batch"] == 1 else f"a batch of {found['batch']} images"
    show(f"  {found['latency_ms']:.3g} ms for {each}{spread}")
    show(f"  on {found['device']}, {found['runtime']}, threads: {found['threads']}")
    if store is None:
        say("to keep it with the study: --results DIR")
        return 0
    write_latency(open_folder(str(store)), found)
    say(f"written to {store}; `scl report {store}` shows it on the page")
    return 0


def _store_of(results: str, found: dict[str, Any]) -> Folder:
    """The store that has the student's trial. Raises UserError if none has."""
    every = stores(results)
    for store in every.values():
        if (read_results(store).trials["trial_id"] == found["trial_id"]).any():
            return store
    raise UserError(
        f"--results {results}: none of its studies ({', '.join(every)}) has trained the student of this file, "
        f"{found['arm']} ({found['trial_id'][:12]}); give the results that it was exported from"
    )
