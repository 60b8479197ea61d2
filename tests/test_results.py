"""`scl.results`, for scripts."""

from __future__ import annotations

from pathlib import Path

import scl.results
from scl.store.files import open_folder
from scl.store.study_file import write_study
from tests.support.parts import put_part


def test_a_script_loads_trials_epochs_and_the_study(tmp_path: Path) -> None:
    store = open_folder(str(tmp_path))
    put_part(store, "t0", epochs=3)
    write_study(store, {"schema_version": 1, "study": "s"})
    loaded = scl.results.load(str(tmp_path))
    assert isinstance(loaded, scl.results.Results)
    assert loaded.trials["trial_id"].tolist() == ["t0"]
    assert loaded.epochs["epoch"].tolist() == [1, 2, 3]
    assert loaded.study["study"] == "s"
