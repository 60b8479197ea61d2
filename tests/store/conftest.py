"""A store with a plan and no results."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.store.files import Folder, open_folder
from scl.store.study_file import write_study


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    folder = open_folder(str(tmp_path / "store"))
    plan = [{"arm": "renamed", "seed": i, "trial_id": f"t{i}"} for i in range(3)]
    write_study(folder, {"schema_version": 1, "plan": plan})
    return folder
