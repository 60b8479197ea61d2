"""`scl merge`: several stores of one study as one new store."""

from __future__ import annotations

from argparse import Namespace

from scl.merge import merge


def run(given: Namespace) -> int:
    return merge(given.places, given.out)
