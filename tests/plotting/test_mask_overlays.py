import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from skipweave.plotting.mask_overlays import mask_image, overlay, plot_masks, plot_overlay
from tests.errors import raises

CLASSES = ("sky", "road")
PALETTE = ((200, 100, 0), (0, 100, 200), (0, 0, 0))
VOID = 2


@pytest.fixture
def scene():
    """Gray image: sky above, road below, void on the right."""
    labels = torch.zeros(12, 16, dtype=torch.int64)
    labels[6:] = 1
    labels[:, 12:] = VOID
    return torch.full((3, 12, 16), 100, dtype=torch.uint8), labels


@given(
    labels=arrays(np.int64, (4, 5), elements=st.integers(0, 2)),
    values=st.lists(st.integers(0, 65535) | st.integers(0, 255), min_size=3, max_size=3, unique=True),
    colored=st.booleans(),
)
def test_a_mask_holds_the_values_of_the_classes(labels, values, colored):
    with io.BytesIO() as file:
        mask_image(torch.from_numpy(labels), values, PALETTE if colored else None).save(file, format="PNG")
        read = Image.open(file)
        assert read.mode == ("I;16" if max(values) > 255 else "P" if colored else "L")
        assert np.array_equal(np.asarray(read), np.array(values)[labels])
        if read.mode == "P":
            assert np.array_equal(np.asarray(read.convert("RGB")), np.array(PALETTE)[labels])


def test_figures_number_classes_by_their_values(scene):
    image, labels = scene
    for figure in (
        plot_overlay(image, labels, CLASSES, PALETTE, values=(0, 255)),
        plot_masks(image, {"truth": labels}, CLASSES, PALETTE, values=(0, 255)),
    ):
        assert legend(figure) == ["0  sky", "255  road", "void"]
        assert set(texts(figure.axes[-1])) == {"0", "255"}


def test_an_overlay_mixes_colors_and_leaves_void(scene):
    pixels = np.asarray(overlay(*scene, PALETTE, void=VOID, alpha=0.5))
    assert pixels.shape == (12, 16, 3)
    assert pixels[0, 0].tolist() == [150, 100, 50]
    assert pixels[8, 0].tolist() == [50, 100, 150]
    assert pixels[0, 14].tolist() == [100, 100, 100]
    assert (pixels[5, :11] > pixels[4, :11]).any(1).all()  # outlined
    assert np.asarray(overlay(*scene, PALETTE, void=VOID, alpha=0))[0, 0].tolist() == [100] * 3


def test_a_coarse_mask_is_enlarged(scene):
    image, labels = scene
    fine = overlay(image, labels, PALETTE)
    assert np.array_equal(np.asarray(overlay(image, labels[::2, ::2], PALETTE)), np.asarray(fine))


def texts(axes):
    return {text.get_text(): text.get_position() for text in axes.texts}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_figure_numbers_and_names_the_classes_that_occur(scene):
    figure = plot_overlay(*scene, CLASSES, PALETTE, "a scene")
    assert figure.axes[0].get_title(loc="left") == "a scene"
    found = texts(figure.axes[0])
    assert set(found) == {"0", "1"}
    assert scene[1][round(found["0"][1]), round(found["0"][0])] == 0
    assert scene[1][round(found["1"][1]), round(found["1"][0])] == 1
    assert legend(figure) == ["0  sky", "1  road", "void"]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_numbers_are_drawn_on_their_classes(height, width, seed):
    labels = torch.randint(0, 2, (height, width), generator=torch.Generator().manual_seed(seed))
    figure = plot_overlay(torch.zeros(3, 2 * height, 2 * width, dtype=torch.uint8), labels, CLASSES, PALETTE)
    found = texts(figure.axes[0])
    assert {int(number) for number in found} == set(labels.unique().tolist())
    for number, (x, y) in found.items():
        assert labels[int((y + 0.5) / 2), int((x + 0.5) / 2)] == int(number)


def test_names_are_not_parsed_as_mathematics(scene):
    for figure in (
        plot_overlay(*scene, ["$\\frac{$", "$x^$"], PALETTE, "$_$"),
        plot_masks(scene[0], {"$_$": scene[1]}, ["$\\frac{$", "$x^$"], PALETTE),
    ):
        figure.savefig(io.BytesIO(), format="svg")


def test_masks_are_drawn_side_by_side(scene):
    image, labels = scene
    figure = plot_masks(image, {"truth": labels, "1/4": labels[::4, ::4] * 0, "final": labels}, CLASSES, PALETTE)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["image", "truth", "1/4", "final", "", ""]
    shown = [axes.images[0].get_array() for axes in figure.axes[:4]]
    assert all(pixels.shape == (12, 16, 3) for pixels in shown)
    assert np.array_equal(shown[1], np.array(PALETTE)[labels])
    assert np.array_equal(shown[2], np.broadcast_to(PALETTE[0], (12, 16, 3)))
    assert legend(figure) == ["0  sky", "1  road", "void"]
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        assert file.getvalue()


def test_a_label_without_a_color_raises(scene):
    image, labels = scene
    for draw in (lambda: mask_image(labels + 1, (0, 1, 2)), lambda: overlay(image, labels - 1, PALETTE)):
        with raises("labels", 0, 2):
            draw()
