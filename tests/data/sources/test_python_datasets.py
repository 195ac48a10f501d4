import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision.transforms import v2

from skipweave.data import DataConfig, epoch_loader, load
from skipweave.inference import evaluate
from skipweave.training import FitConfig, ModelConfig, fit
from skipweave_config.errors import SkipweaveError
from tests.data.training_batch import training_batch
from tests.errors import raises

CONFIG = DataConfig(name="python")


class Shapes(Dataset):
    """Float images of one class index or 0 and 1, with random noise; no attributes."""

    def __init__(self, size=24, several=False):
        self.size = size
        self.several = several

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        image = torch.zeros(1, 16, 16)
        image[:, :, : 4 * (index % 3)] = 1
        label = [int(index % 2 == 0), int(index % 3 == 0)] if self.several else index % 3
        return image + 0.1 * torch.randn(1, 16, 16), label


class Photos(Dataset):
    """Images of two classes of any kind, with the attributes of torchvision's datasets."""

    classes = ("ape", "cow")

    def __init__(self, image, size=20):
        self.image = image
        self.targets = [index % 2 for index in range(size)]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.image, self.targets[index]


def batches(data, **options):
    return list(epoch_loader(data.train, data.train_transform, batch_size=4, seed=0, epoch=1, shuffle=True, **options))


def test_float_images_are_taken_as_they_are():
    data = load(CONFIG, datasets={"train": Shapes(), "validation": Shapes(6)})
    assert (data.classes, data.in_chans, data.image_size) == (("0", "1", "2"), 1, (16, 16))
    assert (len(data.train), len(data.val), data.test) == (24, 6, None)
    assert data.train.labels.tolist() == [index % 3 for index in range(24)]
    image = torch.randn(1, 16, 16)
    assert torch.equal(training_batch(data.train_transform, [image])[0], image)
    assert torch.equal(data.eval_transform(image), image)


def test_random_datasets_are_functions_of_seed_epoch_and_sample():
    data = load(CONFIG, datasets={"train": Shapes()})
    first, again, workers = batches(data), batches(data), batches(data, workers=2)
    assert all(torch.equal(ours[0], theirs[0]) for ours, theirs in zip(first, again, strict=True))
    assert all(torch.equal(ours[0], theirs[0]) for ours, theirs in zip(first, workers, strict=True))
    assert torch.equal(batches(data, start_step=2)[0][0], first[2][0])


def test_without_other_splits_they_are_held_out():
    data = load(CONFIG, datasets={"train": Shapes(60)})
    assert [len(part) for part in (data.train, data.val, data.test)] == [43, 5, 12]
    assert np.bincount(data.test.labels).tolist() == [4, 4, 4]
    for part in (data.train, data.val, data.test):
        for index in range(3):
            image, label = part[index]
            assert image.round().sum(2)[0, 0] == pytest.approx(4 * label, abs=1)


@pytest.mark.parametrize(
    ("image", "channels"),
    [
        (Image.new("RGB", (40, 30)), 3),
        (Image.new("L", (40, 30)), 1),
        (Image.new("RGBA", (40, 30)), 3),
        (torch.zeros(3, 30, 40, dtype=torch.uint8), 3),
    ],
)
def test_8_bit_images_are_resized_and_augmented(image, channels):
    data = load(DataConfig(name="python", image_size=16), datasets={"train": Photos(image)})
    assert (data.classes, data.in_chans) == (("ape", "cow"), channels)
    assert training_batch(data.train_transform, [data.train[0][0]]).shape == (1, channels, 16, 16)
    assert data.eval_transform(data.train[0][0]).shape == (channels, 16, 16)


def test_subsets_have_the_classes_and_labels_of_their_dataset():
    photos = Photos(Image.new("RGB", (16, 16)))
    data = load(CONFIG, datasets={"train": Subset(photos, [1, 3, 5, 6]), "test": Subset(photos, [0, 2, 3])})
    assert data.classes == ("ape", "cow")
    assert data.train.labels.tolist() == [1, 1, 1, 0]
    assert data.test.labels.tolist() == [0, 0, 1]


def test_several_labels_per_image():
    data = load(CONFIG, datasets={"train": Shapes(several=True), "test": Shapes(6, several=True)})
    assert data.multi_label
    assert data.train[0][1].tolist() == [1, 1]
    assert batches(data)[0][1].shape == (4, 2)


def wrong(image=None, label=0, size=4):
    class Wrong(Dataset):
        def __len__(self):
            return size

        def __getitem__(self, index):
            return (torch.zeros(1, 8, 8) if image is None else image), label

    return Wrong()


@pytest.mark.parametrize(
    ("datasets", "named"),
    [
        ({"train": Shapes(), "valid": Shapes()}, "'valid'"),
        ({"test": Shapes()}, "no train"),
        ({"train": wrong(size=0)}, "train has no images|dataset train has labels"),
        ({"train": wrong(label=0.5)}, "dataset train has labels"),
        ({"train": wrong(label="ape")}, "dataset train has labels"),
        ({"train": wrong(image=np.zeros((3, 8, 8)))}, "sample 0 of dataset train is .*ndarray"),
        ({"train": wrong(image=torch.zeros(8, 8))}, r"sample 0 of dataset train is \(Tensor \(8, 8\)"),
        ({"train": Shapes(), "test": wrong(label=7)}, "dataset test has labels from 7 to 7: expected 0 to 2"),
        ({"train": wrong(image=torch.zeros(1, 8, 9))}, "8 x 9"),
    ],
)
def test_mistakes_are_named(datasets, named):
    with pytest.raises(SkipweaveError, match=named):
        load(CONFIG, datasets=datasets)


def test_datasets_and_config_go_together():
    with pytest.raises(SkipweaveError, match=r"data\.name is digits, with datasets"):
        load(DataConfig(), datasets={"train": Shapes()})
    with pytest.raises(SkipweaveError, match=r"data\.name is python, without datasets"):
        load(CONFIG)


def test_a_run_is_trained_and_evaluated(tmp_path):
    model = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4})
    datasets = {"train": Shapes(48), "validation": Shapes(12), "test": Shapes(12)}
    config = FitConfig(model, CONFIG, epochs=2, batch_size=8, output=tmp_path, accelerator="cpu")
    run, again = fit(config, datasets=datasets), fit(config, datasets=datasets)
    assert run.val_metrics == again.val_metrics
    (metrics,) = evaluate(run.run_dir, "train", datasets=datasets)
    assert metrics.images == 48
    with pytest.raises(SkipweaveError, match="python, without datasets"):
        evaluate(run.run_dir)


def test_transforms_of_torchvision_may_be_in_the_dataset():
    transform = v2.Compose([v2.RandomCrop(16), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    class Cropped(Photos):
        def __getitem__(self, index):
            return transform(self.image), self.targets[index]

    data = load(CONFIG, datasets={"train": Cropped(Image.effect_noise((20, 20), 50).convert("RGB"))})
    assert batches(data)[0][0].shape == (4, 3, 16, 16)


class Modes:
    """PIL images of the given modes."""

    targets = (0, 1)

    def __init__(self, *modes):
        self.modes = modes

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return Image.new(self.modes[index], (16, 16)), index


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_pil_images_of_more_than_8_bits_are_rejected(mode):
    with raises("train", mode):
        load(DataConfig(name="python", image_size=16), datasets={"train": Modes(mode, "L")})


@pytest.mark.parametrize(
    ("modes", "channels"), [(("L", "RGB"), 1), (("RGB", "L"), 3), (("RGBA", "1"), 3), (("1", "L"), 1)]
)
def test_all_pil_images_have_the_channels_of_the_first(modes, channels):
    data = load(DataConfig(name="python", image_size=16), datasets={"train": Modes(*modes)})
    assert [len(data.train[index][0]) for index in range(len(data.train))] == [channels] * len(data.train)
