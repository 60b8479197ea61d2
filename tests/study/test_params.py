"""A configuration as flat names."""

from __future__ import annotations

import numpy as np

from scl.study.config import Config
from scl.study.identity import requested
from scl.study.params import params
from scl.study.term import Term


def test_params_are_flat_and_typed() -> None:
    flat = params(Config(losses={"kd": Term(0.9, options={"temperature": 2.0})}))
    assert flat["weight.kd"] == 0.9
    assert flat["kd.temperature"] == 2.0
    assert all(type(v) in (int, float, str, bool) for v in flat.values())


def test_numbers_of_numpy_are_numbers() -> None:
    swept = Config(losses={"kd": Term(np.float64(0.5), layers=[np.int64(1)], options={"temperature": np.float32(2)})})
    plain = Config(losses={"kd": Term(0.5, layers=(1,), options={"temperature": 2.0})})
    assert requested(swept) == requested(plain)
    assert params(swept) == params(plain)
