import itertools

import pytest
from matplotlib.figure import Figure

from skipweave.plotting.point_labels import label_points


def labeled(points, labels):
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*points, strict=True), "o")
    return axes, label_points(axes, points, labels, color="black", fontsize=9)


def test_labels_cover_no_other_label_or_point_and_stay_within_the_axes():
    points = [(x, y) for x in range(4) for y in range(3)]
    axes, placed = labeled(points, [f"network {i}" for i in range(12)])
    assert len(placed) >= 6
    boxes = {index: text.get_window_extent() for index, text in placed.items()}
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes.values(), 2))
    frame = axes.get_window_extent().padded(3)
    for index, box in boxes.items():
        assert frame.contains(box.x0, box.y0)
        assert frame.contains(box.x1, box.y1)
        others = axes.transData.transform([point for i, point in enumerate(points) if i != index])
        assert not any(box.contains(*point) for point in others)


def test_equal_points_get_different_places():
    _, placed = labeled([(0, 0), (0, 0), (1, 1)], ["a", "b"])
    assert sorted(placed) == [0, 1]
    assert not placed[0].get_window_extent().overlaps(placed[1].get_window_extent())


@pytest.mark.parametrize(
    ("label", "lines"), [("short", 1), ("exponential sum (SparseNet[+])", 2), ("very long " * 9, None)]
)
def test_long_labels_have_two_lines_or_none(label, lines):
    _, placed = labeled([(0, 0), (1, 1)], [label])
    assert (placed[0].get_text().count("\n") + 1 if placed else None) == lines


def test_labels_without_a_place_leave_no_text():
    axes, placed = labeled([(0, 0)] * 30, [f"network {i}" for i in range(30)])
    assert 0 < len(placed) < 30
    assert len(axes.texts) == len(placed)
