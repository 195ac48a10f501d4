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
