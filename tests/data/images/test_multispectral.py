import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, load, open_image, read_header
from skipweave.data.images import multispectral
from skipweave.data.images.decoding import first_pixel_type, read_pixel_type
from skipweave.data.value_statistics import fit_normalization
from skipweave_config.errors import SkipweaveError
from tests.data.training_batch import training_batch

tifffile = pytest.importorskip("tifffile")


def values(channels=5, kind=np.uint16):
    rng = np.random.default_rng(0)
    return rng.integers(100, 5000, (channels, 12, 9)).astype(kind)


LAYOUTS = {
    "planar": lambda path, pixels: tifffile.imwrite(path, pixels, planarconfig="separate", photometric="minisblack"),
    "interleaved": lambda path, pixels: tifffile.imwrite(
        path, np.moveaxis(pixels, 0, 2).copy(), planarconfig="contig", photometric="minisblack"
    ),
    "compressed": lambda path, pixels: tifffile.imwrite(
        path, np.moveaxis(pixels, 0, 2).copy(), planarconfig="contig", photometric="minisblack", compression="zlib"
    ),
    "pages": lambda path, pixels: [
        tifffile.imwrite(path, page, append=number > 0, photometric="minisblack") for number, page in enumerate(pixels)
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_channels_keep_their_values(tmp_path, layout, kind):
    path, pixels = tmp_path / "a.tif", values(kind=kind)
    LAYOUTS[layout](path, pixels)
    image = open_image(path, 5, high_bit_depth=True)
    assert image.dtype == torch.float32
    assert np.array_equal(image.numpy(), pixels)
    assert read_header(path) == (9, 12, "TIFF")
    assert read_pixel_type(path).bands == 5
    assert "of 5 channels" in str(read_pixel_type(path))


@pytest.mark.parametrize("in_chans", [1, 3, 4])
def test_another_number_of_channels_raises(tmp_path, in_chans):
    LAYOUTS["planar"](tmp_path / "a.tif", values())
    with pytest.raises(SkipweaveError, match=rf"a\.tif has 5 channels: expected {in_chans}"):
        open_image(tmp_path / "a.tif", in_chans)
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    with pytest.raises(SkipweaveError, match=r"b\.png is a 8-bit RGB image: expected a TIFF file of 5 channels"):
        open_image(tmp_path / "b.png", 5)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "F", "1", "P", "LA"])
def test_gray_and_color_images_are_not_multispectral(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
    assert not multispectral.is_multispectral(tmp_path / "a.tif")
    assert read_pixel_type(tmp_path / "a.tif").bands == 0


def test_pages_of_different_sizes_are_several_images(tmp_path):
    for number, side in enumerate((4, 6)):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((side, side), np.uint8), append=number > 0)
    with pytest.raises(SkipweaveError, match="2 images"):
        open_image(tmp_path / "a.tif", 3)


def test_values_that_are_not_finite_raise(tmp_path):
    pixels = values(kind=np.float32)
    pixels[2, 3, 4] = np.nan
    LAYOUTS["planar"](tmp_path / "a.tif", pixels)
    with pytest.raises(SkipweaveError, match=r"a\.tif .*NaN"):
        open_image(tmp_path / "a.tif", 5)


def test_damaged_files_raise(tmp_path):
    LAYOUTS["planar"](tmp_path / "a.tif", values())
    content = (tmp_path / "a.tif").read_bytes()
    for end in (9, len(content) // 2):
        (tmp_path / "a.tif").write_bytes(content[:end])
        with pytest.raises(SkipweaveError, match=r"a\.tif"):
            open_image(tmp_path / "a.tif", 5)


def test_without_tifffile_the_package_is_named(tmp_path, monkeypatch):
    LAYOUTS["planar"](tmp_path / "a.tif", values())
    monkeypatch.setattr(multispectral, "find_spec", lambda name: None)
    with pytest.raises(SkipweaveError, match=r"skipweave\[tiff\]"):
        open_image(tmp_path / "a.tif", 5)


def test_a_dataset_has_the_channels_of_its_images(tmp_path):
    for name in ("forest", "water"):
        (tmp_path / name).mkdir()
        for number in range(4):
            LAYOUTS["planar"](tmp_path / name / f"{number}.tif", values() * (1 + number))
    data = load(DataConfig(name="folder", root=tmp_path, image_size=8, validation=0))
    assert (data.in_chans, data.train.in_chans) == (5, 5)
    pixels = torch.stack([data.train[index][0] for index in range(len(data.train))]).double()
    low, high = data.preprocessing.range
    assert (low, high) == (pixels.min().item(), pixels.max().item())
    scaled = ((pixels - low) / (high - low)).transpose(0, 1).flatten(1)
    assert data.preprocessing.mean == pytest.approx(scaled.mean(1).tolist())
    assert data.preprocessing.std == pytest.approx(scaled.std(1, correction=0).tolist())
    assert training_batch(data.train_transform, [data.train[0][0]]).shape == (1, 5, 8, 8)
    config = DataConfig(name="folder", root=tmp_path, image_size=8, mean=[0.5] * 3, std=[1.0] * 5)
    with pytest.raises(SkipweaveError, match=r"data\.mean should have 5 numbers"):
        fit_normalization(data.preprocessing, config, data.train)
    assert first_pixel_type(data.train.paths).bands == 5
