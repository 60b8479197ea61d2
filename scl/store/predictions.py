"""The predicted class of each test image, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scl.store.faults import tell
from scl.store.files import Folder
from scl.store.parts import part_names
from scl.store.tables import gather

LABELS = "labels"  # the row with the true classes

Predicted = dict[str, NDArray[np.uint16]]


def read_predictions(store: Folder) -> Predicted:
    """Rows of `predictions.parquet` and of the parts, by id: of trials, of teachers, and LABELS. uint16 (images,) each.

    The arrays are views into one buffer: 10,000 trials with 10,000 images take 0.2 GB. A row with an empty value says
    nothing about its images and is left out.

    Raises:
        RunFailed: a file cannot be opened, or there is not enough memory.
        UserError: a newer version of scl wrote a file.
    """
    read = gather(store, part_names(store), "predictions")
    tell(store, read.faults)
    rows: Predicted = {}
    for batch in read.tables["predictions"].to_batches():
        rows |= _rows(batch)
    return rows


def _rows(batch: Any) -> Predicted:
    lists = batch.column("predicted")
    ends, values = lists.offsets.to_numpy(), lists.values
    gaps = values.is_null().to_numpy(zero_copy_only=False).nonzero()[0] if values.null_count else np.empty(0, int)
    whole = values.fill_null(0) if values.null_count else values
    numbers = whole.to_numpy()
    with_gap = np.searchsorted(gaps, ends[1:]) > np.searchsorted(gaps, ends[:-1])
    spans = zip(batch.column("trial_id").to_pylist(), ends[:-1], ends[1:], with_gap, strict=True)
    return {i: numbers[start:end] for i, start, end, gap in spans if not gap}
