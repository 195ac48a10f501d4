import numpy as np
import pytest

from skipweave.study.mistakes import Mistake, class_errors, clearest_mistakes, confusion_matrix
from skipweave.training.tasks.predictions import Predictions

LABELS = np.array([0, 0, 1, 1, 2])


def predictions(*predicted):
    return Predictions(LABELS, np.array(predicted))


def test_confusions_are_counted_over_the_runs_without_images_that_have_no_predicted_class():
    runs = [predictions(0, 1, 1, 1, 0), predictions(0, -1, 1, 0, 0)]
    assert confusion_matrix(runs, 4).tolist() == [[2, 1, 0, 0], [1, 3, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]


def test_errors_are_percents_of_each_class_and_undefined_without_images():
    errors = class_errors([predictions(0, 1, 1, 1, 0), predictions(0, -1, 1, 0, 0)], 4)
    assert errors[:3] == pytest.approx([50, 25, 100])
    assert np.isnan(errors[3])


def test_mistakes_that_more_runs_make_alike_come_first():
    own = [predictions(0, 1, 1, 0, 0), predictions(1, 1, 2, 0, 1)]
    others = [predictions(0, 0, 2, 0, 0)]
    assert clearest_mistakes(own, [*own, *others], 9) == (
        Mistake(image=3, label=1, predicted=0, runs=2),  # the other run makes it too
        Mistake(image=1, label=0, predicted=1, runs=2),
        Mistake(image=2, label=1, predicted=2, runs=1),
        Mistake(image=4, label=2, predicted=0, runs=1),
        Mistake(image=0, label=0, predicted=1, runs=1),
    )
    assert len(clearest_mistakes(own, own, 2)) == 2
    assert clearest_mistakes([predictions(*LABELS)], [], 2) == ()
