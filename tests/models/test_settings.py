"""Settings of torch that code has changed are named and restored."""

from __future__ import annotations

import torch

from scl.models.settings import settings_restored


def test_a_changed_setting_is_named_and_restored() -> None:
    with settings_restored() as changed:
        torch.set_default_dtype(torch.float64)
        assert changed == []
    assert changed == ["torch.set_default_dtype"]
    assert torch.get_default_dtype() == torch.float32
    with settings_restored() as changed:
        torch.rand(1)
    assert changed == []
