import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipweave.data import Preprocessing, epoch_loader
from skipweave.data.segmentation.joint_transforms import JointEvalTransform, JointTrainTransform

VOID = 200
PLAIN = Preprocessing(channels=3, resize=None, mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)  # leaves bytes as they are


class Coordinates:
    """Images whose pixels encode their position in red and green, and whose masks encode it too."""

    def __init__(self, height, width, count=1):
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        self.image = torch.stack([rows, columns, torch.full_like(rows, 9)]).to(torch.uint8)
        self.labels = (rows * 13 + columns).remainder(VOID).to(torch.uint8)
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.image, self.labels


def expected_labels(image):
    """Labels by the positions of pixels; void outside the image."""
    rows, columns, marks = image
    return torch.where(marks == 9, (rows * 13 + columns).remainder(VOID), VOID).long()


@given(
    st.integers(1, 12), st.integers(1, 12), st.one_of(st.none(), st.integers(1, 15)), st.booleans(), st.integers(0, 9)
)
def test_labels_move_with_their_pixels(height, width, crop, flip, seed):
    torch.manual_seed(seed)
    image, labels = JointTrainTransform(PLAIN, VOID, crop, flip)(*Coordinates(height, width)[0])
    assert labels.dtype == torch.int64
    assert image.shape[1:] == labels.shape == ((crop, crop) if crop else (height, width))
    assert torch.equal(labels, expected_labels(image.round()))
    inside = image[2].eq(image[2, 0, 0])
    assert inside.sum() == min(crop or height, height) * min(crop or width, width)


def test_crops_and_flips_are_uniform():
    samples = Coordinates(5, 6, count=3000)
    transform = JointTrainTransform(PLAIN, VOID, crop=4, flip="horizontal")
    batches = epoch_loader(samples, transform, batch_size=3000, seed=0, epoch=0, shuffle=False)
    images, _ = next(iter(batches))
    corners = images.round()[:, :2, 0, [0, -1]].flatten(1)
    _, counts = corners.unique(dim=0, return_counts=True)
    assert len(counts) == 2 * 3 * 2
    assert counts.min() > 200  # 250 expected, standard deviation 15


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_functions_of_seed_and_epoch(workers):
    samples = Coordinates(20, 20, count=12)
    transform = JointTrainTransform(PLAIN, VOID, crop=8, flip="horizontal")

    def epoch(number, **options):
        options = {"batch_size": 4, "seed": 3, "shuffle": True} | options
        return list(epoch_loader(samples, transform, epoch=number, **options))

    first, again, resumed = epoch(1), epoch(1, workers=workers), epoch(1, workers=workers, start_step=1)
    for ours, others in ((first, again), (first[1:], resumed)):
        for (images, labels), (other_images, other_labels) in zip(ours, others, strict=True):
            assert torch.equal(images, other_images)
            assert torch.equal(labels, other_labels)
    assert not torch.equal(first[0][0], epoch(2)[0][0])


def test_masks_are_resized_in_training_but_not_in_evaluation():
    half = Preprocessing(channels=3, resize=6, mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)
    image, labels = Coordinates(12, 18)[0]
    small, small_labels = JointTrainTransform(half, VOID, crop=None, flip="none")(image, labels)
    assert small.shape == (3, 6, 9)
    assert torch.equal(small_labels, labels[1::2, 1::2].long())
    evaluated, kept = JointEvalTransform(half)(image, labels)
    assert torch.equal(evaluated, small)
    assert torch.equal(kept, labels.long())


def test_masks_are_not_interpolated():
    image, _ = Coordinates(40, 40)[0]
    labels = torch.randint(0, 2, (40, 40), dtype=torch.uint8) * 100
    for side in (7, 23, 64):
        _, resized = JointTrainTransform(
            Preprocessing(channels=3, resize=side, mean=(0, 0, 0), std=(1, 1, 1)), VOID, None, False
        )(image, labels)
        assert resized.shape == (side, side)
        assert set(resized.unique().tolist()) == {0, 100}


@given(st.integers(15, 40), st.integers(15, 40), st.integers(2, 30), st.floats(0.1, 10), st.integers(0, 9))
def test_scaled_crops_have_the_size_of_the_crop_and_labels_of_the_mask(height, width, crop, factor, seed):
    torch.manual_seed(seed)
    given_image, given_labels = Coordinates(height, width)[0]
    image, labels = JointTrainTransform(PLAIN, VOID, crop, "both", (factor, factor))(given_image, given_labels)
    assert image.shape[1:] == labels.shape == (crop, crop)
    assert set(labels.unique().tolist()) <= {*given_labels.unique().tolist(), VOID}
    assert torch.equal(labels == VOID, image[2] == 0)
    filled = [min(max(round(min(side, math.ceil(crop / factor)) * factor), 1), crop) for side in (height, width)]
    assert (labels != VOID).sum() == math.prod(filled)


@given(st.integers(0, 99))
def test_scaled_images_and_masks_stay_aligned(seed):
    """The mask is the sign of a smooth image, which is kept but for one pixel at borders of segments."""
    torch.manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    image = (128 + 60 * torch.sin(rows / 13) + 60 * torch.cos(columns / 17)).byte().expand(3, -1, -1)
    scaled, labels = JointTrainTransform(PLAIN, VOID, 48, "both", (0.5, 2.0))(image, (image[0] > 128).byte())
    inside = labels != VOID
    assert torch.equal((scaled[0] > 128)[inside & far(scaled[0])], labels.bool()[inside & far(scaled[0])])
    assert far(scaled[0])[inside].float().mean() > 0.3


def far(image):
    """Pixels whose value is farther from the limit than those of their neighbors can be."""
    return (image - 128).abs() > 10


def test_a_factor_of_one_keeps_pixels():
    torch.manual_seed(0)
    image, labels = JointTrainTransform(PLAIN, VOID, 8, "none", (1.0, 1.0))(*Coordinates(20, 20)[0])
    assert torch.equal(labels, expected_labels(image.round()))
    assert torch.equal(image, image.round())


def test_factors_are_uniform_and_functions_of_seed_and_epoch():
    samples = Coordinates(100, 100, count=2000)
    transform = JointTrainTransform(PLAIN, VOID, 20, "none", (0.5, 2.0))

    def factors(epoch, workers=0):
        batches = epoch_loader(samples, transform, batch_size=500, seed=0, epoch=epoch, shuffle=False, workers=workers)
        images = torch.cat([images for images, _ in batches])
        return 18 / (images[:, 0, 19, 0] - images[:, 0, 1, 0]).clamp(min=1)

    first = factors(0)
    assert torch.equal(first, factors(0, workers=2))
    assert not torch.equal(first, factors(1))
    assert first.mean() == pytest.approx(1.25, abs=0.05)
    assert (first.min(), first.max()) == (pytest.approx(0.5, abs=0.03), pytest.approx(2, abs=0.2))


@given(st.integers(0, 999))
def test_color_jitter_leaves_positions_and_the_mask(seed):
    image, labels = torch.full((3, 20, 20), 120, dtype=torch.uint8), Coordinates(20, 20)[0][1]

    def transformed(color):
        torch.manual_seed(seed)
        return JointTrainTransform(PLAIN, VOID, 8, "both", (0.5, 2.0), color)(image, labels)

    plain, jittered = transformed(0.0), transformed(0.25)
    assert torch.equal(jittered[1], plain[1])
    assert torch.equal(jittered[0] != 0, plain[0] != 0)  # padding


def of_rows(image):
    """Difference of the two rows."""
    return (image[:, 0] - image[:, 1]).mean()


@pytest.mark.parametrize(
    "measured",
    [
        pytest.param(lambda image: image.mean(), id="brightness"),
        pytest.param(lambda image: of_rows(image) / image.mean(), id="contrast"),
        pytest.param(lambda image: (image[0] - image[1]).mean() / of_rows(image), id="saturation"),
    ],
)
def test_color_jitter_is_uniform(measured):
    transform = JointTrainTransform(PLAIN, VOID, None, "none", color=0.5)
    image = torch.tensor([[120, 80], [90, 50], [90, 50]], dtype=torch.uint8)[..., None].expand(-1, -1, 8)
    mask = torch.zeros(2, 8, dtype=torch.uint8)
    torch.manual_seed(0)
    found = torch.stack([measured(transform(image, mask)[0]) for _ in range(1000)]) / measured(image.float())
    assert found.mean() == pytest.approx(1, abs=0.05)
    assert found.std() == pytest.approx(1 / 12**0.5, rel=0.15)
