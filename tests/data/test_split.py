"""The stratified split and its fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scl.data.split import parts_of, split, split_fingerprint, stratified
from scl.errors import UserError
from scl.study.identity import sha256
from tests.support.images import dataset_of, noise


def naive_stratified(labels: list[int], count: int, seed: object, least: int) -> list[int]:
    """Largest remainder by exact fractions; images of a class by the hash of "seed|index"."""
    classes = sorted(set(labels))
    spare = {c: labels.count(c) - least for c in classes}
    rest = count - least * len(classes)
    exact = {c: Fraction(rest * spare[c], max(1, sum(spare.values()))) for c in classes}
    share = {c: int(exact[c]) for c in classes}
    for c in sorted(classes, key=lambda c: (share[c] - exact[c], c))[: rest - sum(share.values())]:
        share[c] += 1
    chosen = []
    for c in classes:
        members = [i for i, label in enumerate(labels) if label == c]
        members.sort(key=lambda i: hashlib.sha256(f"{seed}|{i}".encode()).hexdigest())
        chosen += members[: least + share[c]]
    return sorted(chosen)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 3), st.integers(0, 1), st.data())
def test_stratified_agrees_with_the_naive_one(labels: list[int], seed: int, least: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(least * len(set(labels)), len(labels)))
    chosen = stratified(np.array(labels), count, seed=seed, least=least)
    assert chosen.tolist() == naive_stratified(labels, count, seed, least)
    assert len(chosen) == count


def test_stratified_is_the_same_for_ever() -> None:
    """Pinned: other numbers here mean that every split of every published study has moved."""
    chosen = stratified(np.arange(1000) % 7, 10, seed=0)
    assert chosen.tolist() == [72, 241, 313, 382, 419, 666, 728, 736, 835, 917]


# ------------------------------------------------------------------------------------------------------- split

LABELS = np.repeat(np.arange(10), 100)


def test_split_is_stratified_sorted_and_disjoint() -> None:
    train, val = split(LABELS, val=0.1, seed=0, limit=None, classes=10)
    assert np.bincount(LABELS[val]).tolist() == [10] * 10
    assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(1000))
    assert np.array_equal(train, np.sort(train))
    assert np.array_equal(val, np.sort(val))


def test_split_follows_its_seed_and_nothing_else() -> None:
    first = split(LABELS, val=0.1, seed=0, limit=None, classes=10)
    again = split(LABELS, val=0.1, seed=0, limit=None, classes=10)
    other = split(LABELS, val=0.1, seed=1, limit=None, classes=10)
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_split_without_validation() -> None:
    train, val = split(LABELS, val=0, seed=0, limit=None, classes=10)
    assert len(val) == 0
    assert np.array_equal(train, np.arange(1000))


def test_limit_cuts_training_and_leaves_validation() -> None:
    whole_train, whole_val = split(LABELS, val=0.1, seed=0, limit=None, classes=10)
    train, val = split(LABELS, val=0.1, seed=0, limit=50, classes=10)
    assert np.array_equal(val, whole_val)
    assert np.bincount(LABELS[train]).tolist() == [5] * 10
    assert np.isin(train, whole_train).all()
    beyond, _ = split(LABELS, val=0.1, seed=0, limit=100_000, classes=10)
    assert np.array_equal(beyond, whole_train)


def test_limit_keeps_an_image_of_each_class_of_a_skewed_set() -> None:
    labels = np.repeat([0, 1, 2], [1000, 5, 5])
    train, _ = split(labels, val=0, seed=0, limit=3, classes=3)
    assert labels[train].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("val", "limit", "message"),
    [
        (0.1, 9, r"--limit 9: fewer training images than the 10 classes; .*10 or more"),
        (0.1, 0, "--limit 0: fewer"),
        (1.0, None, r"--val 1\.0: .*below 1"),
        (-0.1, None, r"--val -0\.1: .*0 or more"),
        (float("nan"), None, "--val nan: "),
        (0.0004, None, r"--val 0\.0004: no image of 1000 would be held out; give 0\.001 or more"),
        (0.999, None, r"--val 0\.999: class \d would have no training image left"),
    ],
)
def test_split_refuses(val: float, limit: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(LABELS, val=val, seed=0, limit=limit, classes=10)


def test_split_fingerprint_sees_content_split_and_mirroring() -> None:
    a, b = np.arange(6), np.arange(6, 8)
    one = dataset_of(noise((8, 1, 4, 4)))
    prints = {
        split_fingerprint(one, a, b),
        split_fingerprint(dataset_of(noise((8, 1, 4, 4), seed=1)), a, b),
        split_fingerprint(one, a[1:], b),
        split_fingerprint(one, a, b[1:]),
        split_fingerprint(one, b, a),
        split_fingerprint(dataclasses.replace(one, flip=False), a, b),
    }
    assert len(prints) == 6
    assert split_fingerprint(dataclasses.replace(one, name="other", note=""), a.astype(np.int32), b) in prints


def test_a_given_validation_part_is_not_held_out_again() -> None:
    images = noise((40, 1, 4, 4))
    held_out = dataset_of(images)
    train, val = parts_of(held_out, val=None, share=0.1, seed=0, limit=None)
    assert (len(train), len(val)) == (36, 4)
    given = dataclasses.replace(held_out, val_images=images[:6], val_labels=np.arange(6) % 2)
    for asked in (None, 0.0):
        train, val = parts_of(given, val=asked, share=0.1, seed=0, limit=None)
        assert train.tolist() == list(range(40))
        assert len(val) == 0
    train, val = parts_of(given, val=None, share=0.1, seed=0, limit=10)
    assert (len(train), len(val)) == (10, 0)
    with pytest.raises(UserError, match=r"--val 0\.1: made has its own validation part of 6 images"):
        parts_of(given, val=0.1, share=0.1, seed=0, limit=None)


@pytest.mark.parametrize(("side", "larger"), [(4, []), (64, []), (65, ["rrc+flip"])])
def test_split_fingerprint_sees_what_auto_means_for_larger_images(side: int, larger: list[str]) -> None:
    one, a, b = dataset_of(noise((8, 1, 3, side))), np.arange(6), np.arange(6, 8)
    parts = [hashlib.sha256(part.astype("<i8").tobytes()).hexdigest() for part in (a, b)]
    assert split_fingerprint(one, a, b) == sha256([one.fingerprint, *parts, True, *larger])
