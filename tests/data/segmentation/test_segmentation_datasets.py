import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, epoch_loader, load_segmentation
from tests.errors import raises


def load(root, **options):
    return load_segmentation(DataConfig(name="masks", root=root, **options))


def numbered(count):
    return [f"picture{number}" for number in range(count)]


def test_a_pair_of_folders_is_split_by_seed(tmp_path, make_pairs, class_list):
    make_pairs(tmp_path, numbered(20))
    class_list(tmp_path)
    data = load(tmp_path, validation=4)
    assert [len(part) for part in (data.train, data.val, data.test)] == [12, 4, 4]
    found = [pair for part in (data.train, data.val, data.test) for pair in part.pairs]
    assert len(set(found)) == 20
    assert load(tmp_path, validation=4).test.pairs == data.test.pairs
    assert load(tmp_path, validation=4, split_seed=1).test.pairs != data.test.pairs
    assert load(tmp_path, validation=0).val is None


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ({"train": 10}, (9, 1, None)),
        ({"train": 10, "test": 3}, (9, 1, 3)),
        ({"train": 10, "val": 2}, (10, 2, None)),
        ({"train": 10, "val": 2, "test": 3}, (10, 2, 3)),
    ],
)
def test_given_splits_are_kept(tmp_path, make_pairs, class_list, given, sizes):
    for part, count in given.items():
        make_pairs(tmp_path / part, numbered(count))
    class_list(tmp_path)
    data = load(tmp_path)
    assert tuple(part and len(part) for part in (data.train, data.val, data.test)) == sizes


def test_classes_and_colors_come_from_the_list(tmp_path, make_pairs, class_list):
    make_pairs(tmp_path, numbered(5))
    path = class_list(tmp_path / "elsewhere", "name,r,g,b\nground,1,2,3\nroad,4,5,6\nvoid,7,8,9\n")
    data = load(tmp_path, classes=path)
    assert data.classes == ("ground", "road")
    assert data.palette == ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert (data.void, data.in_chans) == (2, 3)


def test_training_batches_are_crops_and_evaluation_batches_whole(tmp_path, make_pairs, class_list):
    make_pairs(tmp_path, numbered(10), size=(20, 30))
    class_list(tmp_path)
    data = load(tmp_path, crop=16)
    options = {"batch_size": 2, "seed": 0, "epoch": 0, "shuffle": True}
    images, labels = next(iter(epoch_loader(data.train, data.train_transform, **options)))
    assert (images.shape, labels.shape) == ((2, 3, 16, 16), (2, 16, 16))
    images, labels = next(iter(epoch_loader(data.test, data.eval_transform, **options)))
    assert (images.shape, labels.shape) == ((2, 3, 20, 30), (2, 20, 30))
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert images.min() < 0 < images.max()
    assert (data.image_size, load(tmp_path).image_size) == ((16, 16), (20, 30))


def test_color_jitter_is_for_training_images_of_8_bits(tmp_path, make_pairs, class_list):
    make_pairs(tmp_path, numbered(10), size=(20, 30))
    class_list(tmp_path)
    plain, jittered = load(tmp_path), load(tmp_path, color=0.5)
    image, mask = plain.train[0]
    assert not torch.equal(jittered.train_transform(image, mask)[0], plain.train_transform(image, mask)[0])
    assert torch.equal(jittered.eval_transform(image, mask)[0], plain.eval_transform(image, mask)[0])
    for number, path in enumerate((tmp_path / "images").iterdir()):
        Image.fromarray(np.full((20, 30), 300 + number, dtype=np.uint16)).save(path)
    with raises("data.color", 0.5):
        load(tmp_path, color=0.5)


def test_a_missing_folder_raises(tmp_path, make_pairs):
    with raises(tmp_path):
        load(tmp_path)
    make_pairs(tmp_path, numbered(2))
    with raises(tmp_path / "classes.csv"):
        load(tmp_path)
    with raises("CamVid", "train, trainannot, val"):
        load_segmentation(DataConfig(name="camvid", root=tmp_path))


def test_camvid_is_as_distributed(camvid_root):
    camvid = load_segmentation(DataConfig(name="camvid", root=camvid_root, crop=224))
    assert [len(part) for part in (camvid.train, camvid.val, camvid.test)] == [367, 101, 233]
    assert camvid.classes[0] == "sky"
    image, labels = camvid.test[0]
    assert (image.shape, labels.shape) == ((3, 360, 480), (360, 480))
    assert camvid.classes[labels[350, 100]] == "road"
    assert camvid.train_transform(image, labels)[0].shape == (3, 224, 224)
