"""From a study and its options to what would run: data, teachers, trials, cohorts, cost. Trains nothing.

`scl.plan(study, seeds=5, …)` returns what a run would do, in numbers and as text: see `scl.api.plan`.
"""

from scl.callable import make_callable

make_callable(__name__)
