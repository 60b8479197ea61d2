"""Accuracies from the literature, as a study names them."""

from __future__ import annotations

import pytest

from scl.errors import UserError
from scl.study import study
from scl.study.published import Published

TABLE = Published({"kd": 0.7298, "teacher": 0.7464}, "Tian et al., ICLR 2020", otherwise={"kd": "5 runs"})


def test_users_import_it_beside_the_study() -> None:
    assert study.Published is Published
    assert study.Study("s", "?", {"baseline": {}}, published=TABLE).published is TABLE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Published({"kd": 0.7}), "Published: 'source' must be given"),
        (lambda: Published({"kd": 0.7}, "here", other={}), "Published: unknown field 'other'"),
        (
            lambda: study.Study("s", "?", {"baseline": {}}, published={"kd": 0.7}),  # type: ignore[arg-type]
            "published must be a Published, got",
        ),
    ],
)
def test_a_table_that_is_none_is_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        make()
