"""The life of a run, from a study and its options to the store and the page.

`scl.run(study, seeds=5, inline=True, …)` runs a study and returns its results: see `scl.api.run`.
"""

from scl.callable import make_callable

make_callable(__name__)
