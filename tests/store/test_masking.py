"""Passwords are masked."""

from __future__ import annotations

import pytest

from scl.store.masking import masked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "--storage postgresql+psycopg://me:s3cret@host:5432/db --seeds 2",
            "--storage postgresql+psycopg://me:***@host:5432/db --seeds 2",
        ),
        ("redis://:s3cret@host", "redis://:***@host"),
        ("a://b:c@d and e://f:g@h", "a://b:***@d and e://f:***@h"),
        ("s3://bucket/a:b", "s3://bucket/a:b"),
        ("http://host:80/path", "http://host:80/path"),
        ("", ""),
    ],
)
def test_passwords_of_urls_are_masked_and_nothing_else(text: str, expected: str) -> None:
    assert masked(text) == expected
