import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig
from skipweave.data.validation.check_dataset import check_dataset
from skipweave.data.validation.image_facts import difference_hash, facts_of


def picture(seed, side=64):
    """A smooth random picture."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def splits(tmp_path):
    """Class folders with five different pictures in each of train and test."""
    for split, start in (("train", 0), ("test", 100)):
        for number, name in enumerate(("ape", "cow")):
            (tmp_path / split / name).mkdir(parents=True)
            for seed in range(2 + 3 * number):
                picture(start + 10 * number + seed, 40 + seed).save(tmp_path / split / name / f"{seed}.png")
    return tmp_path


def check(root):
    return check_dataset(DataConfig(name="folder", root=root, image_size=8, validation=0))


def notes(root):
    found = {f.place.removeprefix(f"{root}/"): f.problem.replace(f"{root}/", "") for f in check(root).findings}
    assert check(root).bad == 0
    return found


def test_different_pictures_are_not_reported(splits):
    assert notes(splits) == {}


def test_each_split_is_summarized(splits):
    train, test = check(splits).splits
    assert (train.name, train.images, dict(train.classes)) == ("train", 7, {"ape": 2, "cow": 5})
    assert (test.name, test.images) == ("test", 7)
    assert train.heights == train.widths == (40, 44)
    assert train.kinds == {"8-bit RGB": 7}
    assert 0 <= train.values[0] < train.values[1] <= 255


def test_equal_pixels_in_two_splits_are_found_in_any_format(splits):
    picture(0, 40).save(splits / "test" / "cow" / "copy.bmp")
    assert notes(splits) == {"test/cow/copy.bmp": "in test, has the pixels of train/ape/0.png in train"}


@pytest.mark.parametrize(("side", "options"), [(64, {"quality": 80}), (100, {}), (33, {"quality": 95})])
def test_copies_of_another_size_or_compression_are_found(splits, side, options):
    copy = Image.open(splits / "train" / "ape" / "0.png").resize((side, side), Image.Resampling.BICUBIC)
    copy.save(splits / "test" / "ape" / "copy.jpg", **options)
    assert notes(splits) == {"test/ape/copy.jpg": "in test, looks like train/ape/0.png in train"}


def test_copies_within_a_split_are_not_reported(splits):
    picture(0, 40).save(splits / "train" / "ape" / "copy.bmp")
    assert notes(splits) == {}


@pytest.mark.parametrize("image", [torch.zeros(3, 64, 64), torch.arange(64.0).expand(3, 64, 64)])
def test_flat_images_and_gradients_have_no_look(image):
    assert difference_hash(image) is None


@pytest.mark.parametrize("period", [1, 8, 13])
def test_textures_have_no_look(period):
    """Stripes and noise, whose hash is that of all images with their period."""
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 10, (96, 96))).float()
    stripes = 60 * torch.sin(2 * torch.pi * torch.arange(96) / period)
    assert difference_hash((128 + noise + stripes)[None]) is None


def test_a_look_that_many_images_share_is_not_reported(splits):
    """Scans with one layout, each with its own noise, beside a copy of one of the pictures."""
    layout, rng = np.array(picture(7)).astype(float), np.random.default_rng(0)
    for number in range(16):
        scan = np.clip(layout + rng.normal(0, 3, layout.shape), 0, 255).astype(np.uint8)
        Image.fromarray(scan).save(splits / ("train" if number % 2 else "test") / "cow" / f"scan{number}.png")
    picture(0, 40).resize((60, 60)).save(splits / "test" / "ape" / "copy.jpg")
    assert notes(splits) == {"test/ape/copy.jpg": "in test, looks like train/ape/0.png in train"}


def test_small_images_are_compared_by_pixels_only():
    image = torch.from_numpy(np.array(picture(0, 31))).permute(2, 0, 1)
    assert facts_of("8-bit RGB", image).look is None
    assert facts_of("8-bit RGB", image).checksum == facts_of("8-bit RGB", image.clone()).checksum
    assert facts_of("8-bit RGB", image).checksum != facts_of("8-bit RGB", 255 - image).checksum


def test_bits_are_comparisons_of_neighbors():
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.permutation(72).reshape(8, 9)).float()
    bits = "".join(str(int(row[place] < row[place + 1])) for row in image for place in range(8))
    assert difference_hash(image[None]) == int(bits, 2)


def test_digits_in_memory_are_summarized():
    report = check_dataset(DataConfig(validation=0))
    assert [(split.name, split.images) for split in report.splits] == [("train", 1438), ("test", 359)]
    assert report.splits[0].heights == (8, 8)


def test_a_group_column_keeps_copies_together(tmp_path):
    for number in range(12):
        picture(number // 2).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{'ab'[number % 4 // 2]},{number // 2}" for number in range(12)]
    for columns in ("path,label", "path,label,group"):
        lines = [",".join(row.split(",")[: columns.count(",") + 1]) for row in rows]
        (tmp_path / "labels.csv").write_text("\n".join([columns, *lines]))
        report = check_dataset(DataConfig(name="csv", labels=tmp_path / "labels.csv", image_size=8, validation=0))
        assert bool(report.findings) == (columns == "path,label")
