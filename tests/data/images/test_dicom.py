from pathlib import Path

import numpy as np
import pytest
import torch

from skipweave.data import DataConfig, load, open_image, read_header
from skipweave.data.datasets import with_normalization
from skipweave.data.images import dicom
from skipweave.data.images.decoding import dicom_window, read_pixel_type
from skipweave_config.errors import SkipweaveError

pydicom = pytest.importorskip("pydicom")


def write(path, pixels, *, bits=12, photometric="MONOCHROME2", **tags):
    """Write a DICOM file of one image."""
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = CTImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, file.file_meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = pixels.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, photometric
    file.BitsAllocated, file.BitsStored, file.HighBit = pixels.itemsize * 8, bits, bits - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)


def stored(kind=np.uint16):
    return np.random.default_rng(0).integers(0, 4096, (6, 5)).astype(kind)


def test_values_are_rescaled(tmp_path):
    write(tmp_path / "a.dcm", stored(), RescaleSlope="1", RescaleIntercept="-1024")
    image = open_image(tmp_path / "a.dcm", 1, high_bit_depth=True)
    assert image.dtype == torch.float32
    assert np.array_equal(image[0].numpy(), stored().astype(np.float32) - 1024)
    assert torch.equal(open_image(tmp_path / "a.dcm", 3), image.expand(3, -1, -1))
    assert read_header(tmp_path / "a.dcm") == (5, 6, "DICOM")
    assert str(read_pixel_type(tmp_path / "a.dcm")) == "16-bit gray (DICOM)"
    write(tmp_path / "b.dcm", stored(), RescaleSlope="0.5", RescaleIntercept="0")
    assert read_pixel_type(tmp_path / "b.dcm").floating
    assert np.array_equal(open_image(tmp_path / "b.dcm", 1)[0].numpy(), stored() / 2)


def test_signed_values_and_inverted_images(tmp_path):
    pixels = (stored().astype(np.int16) - 2048).astype(np.int16)
    write(tmp_path / "a.dcm", pixels)
    assert np.array_equal(open_image(tmp_path / "a.dcm", 1)[0].numpy(), pixels)
    write(tmp_path / "b.dcm", pixels, photometric="MONOCHROME1")
    assert np.array_equal(open_image(tmp_path / "b.dcm", 1)[0].numpy(), -1 - pixels)
    write(tmp_path / "c.dcm", stored(), photometric="MONOCHROME1")
    assert np.array_equal(open_image(tmp_path / "c.dcm", 1)[0].numpy(), 4095 - stored())


def test_8_bits_without_rescaling_stay_8_bits(tmp_path):
    pixels = (stored() % 256).astype(np.uint8)
    write(tmp_path / "a.dcm", pixels, bits=8)
    image = open_image(tmp_path / "a.dcm", 1, high_bit_depth=False)
    assert image.dtype == torch.uint8
    assert np.array_equal(image[0].numpy(), pixels)
    write(tmp_path / "a.dcm", pixels, bits=8, RescaleIntercept="-5", RescaleSlope="1")
    assert open_image(tmp_path / "a.dcm", 1, high_bit_depth=True).min() == -5 + int(pixels.min())


def test_files_are_recognized_by_their_content(tmp_path):
    write(tmp_path / "scan", stored())
    assert dicom.is_dicom(tmp_path / "scan")
    assert open_image(tmp_path / "scan", 1).shape == (1, 6, 5)


def test_the_first_window_of_a_file(tmp_path):
    write(tmp_path / "a.dcm", stored(), WindowCenter=["40", "300"], WindowWidth=["400", "1500"])
    write(tmp_path / "b.dcm", stored(), WindowCenter="1", WindowWidth="2.5")
    write(tmp_path / "c.dcm", stored())
    assert [dicom_window(tmp_path / f"{name}.dcm") for name in "abc"] == [(40, 400), (1, 2.5), None]
    assert dicom_window(tmp_path / "missing.dcm") is None


@pytest.mark.parametrize(
    ("tags", "named"),
    [({"NumberOfFrames": "2"}, "2 frames"), ({"PhotometricInterpretation": "RGB"}, "RGB pixels")],
)
def test_other_kinds_raise(tmp_path, tags, named):
    write(tmp_path / "a.dcm", stored(), **tags)
    with pytest.raises(SkipweaveError, match=rf"a\.dcm.*{named}"):
        open_image(tmp_path / "a.dcm", 1)


def test_a_file_without_an_image_raises(tmp_path):
    write(tmp_path / "a.dcm", stored())
    file = pydicom.dcmread(tmp_path / "a.dcm")
    del file.Rows, file.PixelData
    file.save_as(tmp_path / "a.dcm")
    with pytest.raises(SkipweaveError, match=r"a\.dcm.*without an image"):
        open_image(tmp_path / "a.dcm", 1)


@pytest.mark.parametrize("content", [b"", b"junk", bytes(200)])
def test_damaged_files_raise(tmp_path, content):
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(SkipweaveError, match=r"a\.dcm"):
        open_image(tmp_path / "a.dcm", 1)
    write(tmp_path / "b.dcm", stored())
    (tmp_path / "b.dcm").write_bytes((tmp_path / "b.dcm").read_bytes()[:-9])
    with pytest.raises(SkipweaveError, match=r"b\.dcm"):
        open_image(tmp_path / "b.dcm", 1)


@pytest.fixture
def scans(tmp_path):
    for name, top in (("clear", 0), ("lesion", 300)):
        (tmp_path / name).mkdir()
        for number in range(5):
            tags = {"WindowCenter": str(100 + number), "WindowWidth": "400"} if number else {}
            pixels = (stored() // 4 + top).astype(np.uint16)
            write(tmp_path / name / f"{number}.dcm", pixels, RescaleSlope="1", RescaleIntercept="-100", **tags)
    return tmp_path


@pytest.mark.parametrize("window", [(100.0, 400.0), "file"])
def test_values_outside_a_window_are_clipped(scans, window):
    config = DataConfig(name="folder", root=scans, image_size=8, channels=1, window=window, validation=0)
    data = load(config)
    assert data.in_chans == 1
    first = next(path for path in data.train.paths if Path(path).stem != "0")
    center = 100 if window != "file" else 100 + int(Path(first).stem)
    assert data.preprocessing.range == (center - 200, center + 200)
    assert data.preprocessing.clip
    mean, std = data.preprocessing.mean[0], data.preprocessing.std[0]
    image = data.preprocessing.normalize(torch.tensor([[[-500.0, center, 5000.0]]]))
    assert torch.allclose(image, torch.tensor([[[(v - mean) / std for v in (0, 0.5, 1)]]]))
    kept = with_normalization(config, data)
    assert kept.window == (center, 400)
    assert load(kept).preprocessing == data.preprocessing


def test_a_window_of_files_without_windows_raises(tmp_path):
    for name in ("clear", "lesion"):
        (tmp_path / name).mkdir()
        for number in range(3):
            write(tmp_path / name / f"{number}.dcm", stored() + number)
    with pytest.raises(SkipweaveError, match=r"data\.window is file"):
        load(DataConfig(name="folder", root=tmp_path, image_size=8, window="file", validation=0))
