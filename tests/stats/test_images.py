"""Statistics over test images: against loops, and by simulation of studies in which the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scl import stats
from scl.stats import Array


def draw(
    rng: np.random.Generator, seeds: int, sizes: list[int], uneven: float = 0.0, effect: float = 0.0
) -> tuple[Array, Array, Array]:
    """Two arms (seeds, images) of bool and the labels. Seeds move whole classes, by class with log-sd `uneven`.

    Both arms are equal, but for `effect` in the first class: a shift of the logit.
    """
    labels = np.repeat(np.arange(len(sizes)), sizes)
    image = rng.normal(1.2, 1.5, len(labels)) + rng.normal(0, 0.8, len(sizes))[labels]
    scale = 0.3 * np.exp(uneven * rng.normal(0, 1, len(sizes)))
    arms = []
    for shift in (effect, 0.0):
        moved = (rng.normal(0, 1, (seeds, len(sizes))) * scale)[:, labels] + rng.normal(0, 0.1, (seeds, 1))
        logit = image + moved + rng.normal(0, 1, (seeds, len(labels))) + shift * (labels == 0)
        arms.append(logit > 0)
    return arms[0], arms[1], labels


def test_errors_are_those_of_the_two_way_layout() -> None:
    """Mean squares by loops over the cells of seeds × images."""
    ours, theirs, labels = draw(np.random.default_rng(0), 4, [5, 7, 8])
    d = ours.astype(float) - theirs
    n, size = d.shape
    seeds = size * sum((d[s].mean() - d.mean()) ** 2 for s in range(n)) / (n - 1)
    images = n * sum((d[:, i].mean() - d.mean()) ** 2 for i in range(size)) / (size - 1)
    rest = sum((d[s, i] - d[s].mean() - d[:, i].mean() + d.mean()) ** 2 for s in range(n) for i in range(size))
    rest /= (n - 1) * (size - 1)
    strata = sum(len(x) / size**2 * x.var(ddof=1) for x in (d.mean(0)[labels == k] for k in range(3)))
    got = stats.image_difference(ours, theirs, labels)
    assert (got.seeds, got.images) == (4, 20)
    assert got.estimate == pytest.approx(ours.mean() - theirs.mean())
    assert got.of_seeds == pytest.approx(d.mean(1).std(ddof=1) / math.sqrt(n)) == math.sqrt(seeds / n / size)
    assert got.of_images == pytest.approx(math.sqrt(images / n / size))
    assert got.of_images_in_class == pytest.approx(math.sqrt(strata))
    assert got.of_both == pytest.approx(math.sqrt((images + max(seeds - rest, 0)) / n / size))


def test_errors_are_the_spread_over_new_seeds_and_new_test_sets() -> None:
    """A population of 200 networks an arm and 4,000 images; studies draw 5 seeds and 100 images of it."""
    rng = np.random.default_rng(1)
    ours, theirs, _ = draw(rng, 200, [400] * 10)
    fixed_seeds, fixed_images = rng.choice(200, 5, replace=False), rng.choice(4000, 100, replace=False)
    spread: dict[str, list[float]] = {"of_images": [], "of_seeds": [], "of_both": []}
    squares: dict[str, list[float]] = {name: [] for name in spread}
    for _ in range(1500):
        seeds, images = rng.choice(200, 5, replace=False), rng.choice(4000, 100, replace=False)
        for name, s, i in (
            ("of_images", fixed_seeds, images), ("of_seeds", seeds, fixed_images), ("of_both", seeds, images),
        ):  # fmt: skip
            got = stats.image_difference(ours[np.ix_(s, i)], theirs[np.ix_(s, i)], np.zeros(100, int))
            spread[name].append(got.estimate)
            squares[name].append(getattr(got, name) ** 2)
    for name, estimates in spread.items():
        assert math.sqrt(np.mean(squares[name])) == pytest.approx(np.std(estimates), rel=0.07), name


@pytest.mark.parametrize(
    ("seeds", "sizes", "uneven", "over_images"),
    [
        (3, [36] * 10, 0.0, 0.2),
        (3, [36] * 10, 0.7, 0.4),
        (3, [8] * 100, 0.7, 0.0),
        (5, [100] * 20, 0.7, 0.9),
        (3, [5] * 5 + [20] * 5 + [200] * 5, 0.7, 0.6),
    ],
    ids=["even", "uneven", "small", "large", "mixed"],
)
def test_family_wise_error_over_classes_of_equal_arms(
    seeds: int, sizes: list[int], uneven: float, over_images: float
) -> None:
    """A paired test over images alone, as McNemar's, takes the luck of these seeds for a difference of the arms."""
    rng = np.random.default_rng(2)
    wrong = np.zeros(2)
    studies = 300
    for _ in range(studies):
        ours, theirs, labels = draw(rng, seeds, sizes, uneven)
        d = (ours.astype(float) - theirs).mean(0)
        means = [stats.mean_interval(d[labels == k]) for k in range(len(sizes))]
        alone = [stats.t_p(m.mean / m.sd * math.sqrt(m.n), m.n - 1) if m.sd else 1.0 for m in means]
        both = (stats.class_differences(ours, theirs, labels).p, alone)
        wrong += [stats.holm(p).min() < 0.05 for p in both]
    assert wrong[0] / studies <= 0.06
    assert wrong[1] / studies >= over_images


def test_a_class_that_changes_is_found_and_named() -> None:
    rng = np.random.default_rng(3)
    found = [stats.class_differences(*draw(rng, 5, [40] * 10, effect=2.5)) for _ in range(100)]
    assert np.mean([stats.holm(f.p)[0] < 0.05 for f in found]) > 0.7
    assert np.mean([np.argmin(f.p) == 0 for f in found]) > 0.9


def test_small_classes_are_drawn_towards_the_mean() -> None:
    """Without a true difference between classes, the largest change is that of a small class, and it is chance."""
    rng = np.random.default_rng(4)
    raw, shrunk, spread = [], [], []
    for _ in range(100):
        found = stats.class_differences(*draw(rng, 3, [5] * 10 + [200] * 10))
        raw.append(np.abs(found.difference).argmax() < 10)
        shrunk.append(np.abs(found.shrunk - found.difference.mean()).max() / np.abs(found.difference).max())
        spread.append(found.spread)
    assert np.mean(raw) > 0.9
    assert np.median(shrunk) < 0.3
    assert np.median(spread) < 0.02


NONE, ALL = np.zeros((3, 6), bool), np.ones((3, 6), bool)
PAIRS = np.array([0, 0, 0, 1, 1, 1])


def test_what_the_data_cannot_support_is_nan() -> None:
    one = stats.image_difference(ALL[:1], NONE[:1], PAIRS)
    assert (one.seeds, one.estimate, one.of_images) == (1, 1.0, 0.0)
    assert math.isnan(one.of_seeds)
    assert math.isnan(one.of_both)
    nothing = stats.image_difference(NONE[:, :0], NONE[:, :0], PAIRS[:0])
    assert (nothing.seeds, nothing.images) == (3, 0)
    assert math.isnan(nothing.estimate)
    assert np.isnan(stats.class_differences(ALL[:1], NONE[:1], PAIRS).p).all()
    single = stats.class_differences(ALL, NONE, np.array([0, 0, 0, 1, 1, 7]))
    assert single.label.tolist() == [0, 1, 7]
    assert single.images.tolist() == [3, 2, 1]
    assert np.isnan(single.p).tolist() == [False, False, True]  # one image shows no spread
    assert not len(stats.class_differences(NONE[:, :0], NONE[:, :0], PAIRS[:0]).p)


def test_classes_without_any_change_or_that_change_as_a_whole() -> None:
    ours = np.concatenate([np.zeros((3, 40), bool), np.ones((3, 40), bool)], axis=1)
    found = stats.class_differences(ours, np.zeros((3, 80), bool), np.repeat([0, 1], 40))
    assert found.p[0] == 1.0
    assert found.p[1] < 1e-6
    assert found.difference.tolist() == [0.0, 1.0]
    assert (found.ours.tolist(), found.theirs.tolist()) == ([0.0, 1.0], [0.0, 0.0])


def test_mistakes_are_counted_where_the_teacher_errs() -> None:
    labels, teacher = np.array([0, 1, 2, 3, 4]), np.array([0, 1, 3, 4, 0])
    found = stats.mistakes(np.array([9, 9, 3, 3, 1]), teacher, labels)
    assert (found.images, found.same, found.right) == (3, pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert stats.mistakes(labels, labels, labels).images == 0
    assert math.isnan(stats.mistakes(labels, labels, labels).same)
