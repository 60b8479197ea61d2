"""The names of a configuration's fields agree with the code."""

from __future__ import annotations

from scl.study.config import Config
from scl.study.fields import MODELS
from scl.study.recipes import RECIPES


def test_tables_of_names_agree_with_the_code() -> None:
    assert all(Config(model=name) for name in MODELS)
    assert all(Config().replace(**recipe.fields) for recipe in RECIPES.values())
