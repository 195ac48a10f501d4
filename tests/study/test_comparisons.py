"""Comparisons against closed formulas, values of other programs, and simulated networks of known variance."""

import csv
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skipweave.study.comparisons import compare, comparisons, holm, mcnemar, satterthwaite, write_comparisons
from skipweave.study.results import Network, Results, Run
from skipweave.training.tasks.metrics import MEAN_IOU, TOP1_ACCURACY, TOP1_ERROR
from skipweave.training.tasks.predictions import Predictions


def study(values: Mapping[str, Sequence[float]], test_images: int = 0, metric=TOP1_ERROR) -> Results:
    """Networks of which only the values are known."""
    networks = tuple(Network(label, "m", {}) for label in values)
    runs = tuple(Run(label, seed, "", value, 1.0) for label in values for seed, value in enumerate(values[label]))
    return Results("", networks, runs, test_images=test_images, metric=metric)


def of_images(wrong: Mapping[str, Sequence[Sequence[int]]], metric=TOP1_ERROR) -> Results:
    """Networks that have the images wrong for which a seed's entry is 1."""
    networks = tuple(Network(label, "m", {}) for label in wrong)
    runs = []
    for label, seeds in wrong.items():
        for seed, entries in enumerate(seeds):
            predicted = np.asarray(entries, dtype=np.int64)  # every image is of class 0
            error = 100 * float(predicted.mean())
            value = 100 - error if metric is TOP1_ACCURACY else error
            predictions = Predictions(np.zeros_like(predicted), predicted)
            runs.append(Run(label, seed, "", value, 1.0, predictions=predictions))
    return Results("", networks, tuple(runs), test_images=len(predicted), metric=metric)


def of_two(results: Results):
    a, b = results.summaries
    return compare(a, b, results)


def test_without_predictions_the_variances_of_seeds_and_binomials_add_up():
    values = {"a": (1.0, 3.0), "b": (4.0, 6.0)}  # a spread of sqrt(2)
    assert of_two(study(values)).standard_error == pytest.approx(2**0.5)  # 2/2 + 2/2
    binomial = (2 * 98 + 5 * 95) / 100
    assert of_two(study(values, 100)).standard_error == pytest.approx((2 + binomial) ** 0.5)
    assert of_two(study({"a": (2.0,), "b": (5.0,)}, 100)).standard_error == pytest.approx(binomial**0.5)


def test_a_difference_has_the_interval_and_p_value_of_a_t_test():
    """With two networks and no images it is Student's test of two samples; values of `scipy.stats.ttest_ind`."""
    found = of_two(study({"a": (27.3, 26.1, 28.4, 27.9), "b": (25.0, 26.2, 25.9)}))
    assert (found.difference, found.freedom, found.test) == (pytest.approx(1.725), 5, "t")
    assert found.p == pytest.approx(0.0473362849)
    assert found.interval == pytest.approx((0.0298284490, 3.4201715510))


def test_nothing_is_known_of_one_seed_and_no_images():
    found = of_two(study({"a": (30.0,), "b": (60.0,)}, metric=MEAN_IOU))
    assert (found.standard_error, found.interval, found.p, found.test, found.differs) == (None, None, None, "", False)


@given(st.data())
@settings(max_examples=30)
def test_the_images_term_is_the_variance_of_the_paired_differences(data):
    """With one seed each there is no other term."""
    rows = st.lists(st.integers(0, 1), min_size=20, max_size=20)
    a, b = data.draw(rows), data.draw(rows)
    found = of_two(of_images({"a": [a], "b": [b]}))
    only_a, only_b = (sum(x > y for x, y in zip(*pair, strict=True)) for pair in ((a, b), (b, a)))
    variance = (only_a + only_b - (only_a - only_b) ** 2 / 20) / 19
    assert found.standard_error == pytest.approx(100 * (variance / 20) ** 0.5)
    assert (found.only_wrong, found.paired_images, found.test) == ((only_a, only_b), 20, "McNemar")
    assert found.p == mcnemar(only_a, only_b)


@given(st.data(), st.integers(2, 4))
def test_seeds_and_images_add_up(data, seeds):
    rows = st.lists(st.lists(st.integers(0, 1), min_size=9, max_size=9), min_size=seeds, max_size=seeds)
    a, b = (np.array(data.draw(rows)) for _ in "ab")
    found = of_two(of_images({"a": a, "b": b}))
    spread = np.mean([np.var(100 * runs.mean(1), ddof=1) for runs in (a, b)])
    images = np.var(100 * (a.mean(0) - b.mean(0)), ddof=1) / 9
    assert found.standard_error == pytest.approx((images + 2 * spread / seeds) ** 0.5)
    if images and spread:
        assert found.freedom == pytest.approx(satterthwaite([(2 * spread / seeds, 2 * (seeds - 1)), (images, 8)]))
        assert min(8, 2 * (seeds - 1)) - 1e-9 <= found.freedom <= 8 + 2 * (seeds - 1) + 1e-9
    assert found.only_wrong is None


def test_accuracies_differ_as_errors_do():
    rng = np.random.default_rng(0)
    wrong = {"a": rng.integers(0, 2, (2, 30)), "b": rng.integers(0, 2, (2, 30))}
    error, accuracy = of_two(of_images(wrong)), of_two(of_images(wrong, TOP1_ACCURACY))
    assert accuracy.difference == pytest.approx(-error.difference)
    assert (accuracy.standard_error, accuracy.p) == (pytest.approx(error.standard_error), pytest.approx(error.p))


def test_pairing_removes_what_both_networks_have_in_common():
    """Both have the same half of the images wrong, and one of them one more: binomially, hardly a difference."""
    half = [0, 1] * 50
    paired = of_two(of_images({"a": [[1, *half[1:]]], "b": [half]}))
    assert paired.standard_error == pytest.approx(1.0)
    assert of_two(study({"a": (51.0,), "b": (50.0,)}, 100)).standard_error == pytest.approx(7.07, abs=0.01)


@pytest.mark.parametrize("change", ["no predictions", "other images", "more images", "other metric"])
def test_networks_are_paired_only_on_the_same_images(change: str):
    whole = of_images({"a": [[0, 1, 1]] * 2, "b": [[1, 0, 1]] * 2})
    *runs, last = whole.runs
    others = {
        "no predictions": None,
        "other images": Predictions(np.array([0, 1, 0]), np.array([1, 0, 1])),
        "more images": Predictions(np.zeros(4, np.int64), np.array([1, 0, 1, 1])),
        "other metric": last.predictions,
    }
    run = Run(last.label, last.seed, "", last.value, 1.0, predictions=others[change])
    test_images = 0 if change == "other metric" else 3
    found = of_two(Results("", whole.networks, (*runs, run), test_images=test_images))
    assert found.paired_images == 0
    assert of_two(whole).paired_images == 3


def simulated(rng: np.random.Generator, kind: str, seeds: int, images: int) -> dict[str, np.ndarray]:
    """Two equally good networks; what differs: images by chance, whole runs, or the images that are hard for each."""
    shape = (2, seeds, images)
    if kind == "chance":
        chances = np.broadcast_to(rng.uniform(0.0, 0.6, images), shape)  # images are as hard for both
    elif kind == "seeds":
        chances = np.broadcast_to(rng.normal(0.4, 0.1, (2, seeds, 1)), shape)
    else:
        chances = np.broadcast_to(rng.random((2, 1, images)) < 0.3, shape)
    wrong = (rng.random(shape) < chances).astype(int)
    return {"a": wrong[0], "b": wrong[1]}


@pytest.mark.parametrize(
    ("kind", "variance", "ratio"),
    [
        ("chance", 2 * 0.18 / 300, 2),  # the mean of p (1 - p) is 0.18
        ("seeds", 2 * (0.01 + 0.23 / 100) / 3, 1.19),  # of the runs' chances, and of the images of a run
        ("images", 2 * 0.21 / 100, 1),
    ],
)
def test_variances_of_simulated_networks(kind: str, variance: float, ratio: float):
    """The estimate is the variance, but for what differs image by image with the seed, which both terms have."""
    rng = np.random.default_rng(1)
    found = [of_two(of_images(simulated(rng, kind, 3, 100))) for _ in range(1000)]
    assert np.var([one.difference for one in found], ddof=1) == pytest.approx(1e4 * variance, rel=0.1)
    assert np.mean([one.standard_error**2 for one in found]) == pytest.approx(1e4 * variance * ratio, rel=0.05)
    covered = np.mean([low <= 0 <= high for low, high in (one.interval for one in found)])
    assert covered > 0.98 if kind == "chance" else 0.93 < covered < 0.98


@pytest.mark.parametrize(
    ("first", "second", "p"),  # twice the tail of the binomial distribution
    [
        (0, 0, 1),
        (3, 3, 1),
        (0, 5, 2 / 2**5),
        (1, 6, 2 * (1 + 7) / 2**7),
        (2, 10, 2 * (1 + 12 + 66) / 2**12),
        (15, 4, 2 * (1 + 19 + 171 + 969 + 3876) / 2**19),
    ],
)
def test_mcnemar(first: int, second: int, p: float):
    assert mcnemar(first, second) == mcnemar(second, first) == pytest.approx(p)


def test_a_network_that_varies_more_is_compared_by_welch_s_test():
    """Its own spread and the pooled one of the others have a term each."""
    found = study({"a": (1.0, 1.1, 1.2), "b": (2.0, 2.2, 2.1), "c": (3.0, 3.1, 3.2), "bad": (50.0, 70.0, 60.0)})
    a, b, _, bad = found.summaries
    alike, other = compare(b, a, found), compare(bad, a, found)
    assert (alike.standard_error, alike.freedom) == (pytest.approx(0.1 * (2 / 3) ** 0.5), pytest.approx(6))
    assert other.standard_error == pytest.approx(((0.01 + 100) / 3) ** 0.5)
    assert other.freedom == pytest.approx(satterthwaite([(0.01 / 3, 6), (100 / 3, 2)]))


def test_degrees_of_freedom_are_those_of_welch():
    """As `scipy.stats.ttest_ind(equal_var=False)` computes them for variances of the means of 1.25 and 16."""
    assert satterthwaite([(1.25, 3), (16.0, 2)]) == pytest.approx(2.3152861080)
    assert satterthwaite([]) == satterthwaite([(0.0, 3)]) == float("inf")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_definition_rejects(p_values: list[float]):
    """Step down: reject the smallest while it is below the level over the number of those that are left."""
    rejected = set()
    for index in sorted(range(len(p_values)), key=p_values.__getitem__):
        if p_values[index] * (len(p_values) - len(rejected)) >= 0.05:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(holm(p_values)) if p < 0.05} == rejected


def test_all_pairs_are_compared_or_each_with_the_best():
    def labels(networks: int) -> list[tuple[str, str]]:
        found = comparisons(study({str(i): (i + 0.0, i + 0.5) for i in range(networks)}))
        return [(one.network.network.label, one.reference.network.label) for one in found]

    assert labels(8) == [(b, a) for a, b in combinations("01234567", 2)]
    assert labels(9) == [(b, "0") for b in "12345678"]
    assert labels(1) == labels(0) == []


def test_p_values_are_adjusted_for_all_comparisons():
    found = comparisons(study({"a": (1.0, 1.2), "b": (1.5, 1.7), "c": (1.8, 2.0)}))
    assert [one.holm_p for one in found] == holm([one.p for one in found])
    assert [(one.p < 0.05, one.differs) for one in found] == [(True, False), (True, True), (False, False)]


def test_equal_values_of_all_seeds_are_no_division_by_zero():
    equal, other = (of_two(study({"a": (2.0, 2.0), "b": (b, b)})) for b in (2.0, 3.0))
    assert (equal.p, equal.interval, other.p, other.interval) == (1.0, (0.0, 0.0), 0.0, (-1.0, -1.0))


def test_comparisons_csv_has_one_row_per_comparison(tmp_path):
    path = tmp_path / "comparisons.csv"
    write_comparisons(path, of_images({"a": [[1, 1, 0, 0]], "b": [[0, 0, 0, 1]]}))
    (row,) = csv.DictReader(path.read_text().splitlines())
    assert row == {
        "label": "a",
        "reference": "b",
        "difference_test_top1_error": "25.0",
        "interval_low": "-127.348",
        "interval_high": "177.348",
        "standard_error": "47.8714",
        "degrees_of_freedom": "3.0",
        "test": "McNemar",
        "p": "1",
        "holm_p": "1",
        "seeds": "1",
        "reference_seeds": "1",
        "paired_images": "4",
        "only_wrong": "2",
        "reference_only_wrong": "1",
    }
