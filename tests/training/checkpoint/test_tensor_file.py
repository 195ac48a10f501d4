import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from skipweave.training.checkpoint.tensor_file import open_saved, save
from skipweave_config.errors import SkipweaveError
from tests.errors import raises

TENSORS = {
    "net/weight": torch.arange(6.0).view(2, 3),
    "net/steps": torch.tensor(7),
    "net/half": torch.ones(3, dtype=torch.bfloat16),
    "opt/none": torch.empty(0),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "last.safetensors"
    save(path, TENSORS, {"epoch": 3, "loss": 0.1 + 0.2, "rows": [{"a": None}]})
    return path


def test_tensors_and_values_come_back_exactly(file: Path):
    saved = open_saved(file)
    assert {key: saved.info[key] for key in ("epoch", "loss", "rows")} == {
        "epoch": 3,
        "loss": 0.1 + 0.2,
        "rows": [{"a": None}],
    }
    read = saved.tensors()
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) and read[name].dtype == TENSORS[name].dtype for name in read)
    assert set(saved.tensors("net/")) == {"weight", "steps", "half"}


def test_the_same_tensors_and_values_give_the_same_bytes(file: Path, tmp_path: Path):
    """Of two metadata the library's own writer puts either first, by chance."""
    for number in range(20):
        again = tmp_path / str(number)
        save(again, dict(reversed(TENSORS.items())), {"epoch": 3, "loss": 0.1 + 0.2, "rows": [{"a": None}]})
        assert again.read_bytes() == file.read_bytes()


def test_the_library_reads_what_is_written(tmp_path: Path):
    for number in range(8):  # whatever is missing to a multiple of 8 bytes
        save(tmp_path / "a", TENSORS, {"name": "ä" * number})
        read = load_file(tmp_path / "a")
        assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())
        header = int.from_bytes((tmp_path / "a").read_bytes()[:8], "little")
        assert header % 8 == 0


def test_tensors_that_share_memory_are_written_each(tmp_path: Path):
    whole = torch.arange(4.0)
    save(tmp_path / "a", {"whole": whole, "half": whole[:2], "same": whole}, {})
    read = open_saved(tmp_path / "a").tensors()
    assert torch.equal(read["same"], whole)
    assert torch.equal(read["half"], whole[:2])


def test_non_finite_values_raise_before_the_file_is_written(file: Path):
    before = file.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        save(file, TENSORS, {"loss": float("nan")})
    assert file.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, -1])
def test_a_truncated_file_raises(file: Path, keep: int):
    file.write_bytes(file.read_bytes()[:keep])
    with raises(file):
        open_saved(file)


def test_a_changed_bit_raises(file: Path):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with raises(file):
        open_saved(file).tensors()


@pytest.mark.parametrize("bit", [0, 5])
def test_any_changed_bit_raises_or_has_no_effect(file: Path, bit: int):
    """Of the header, its names, types, shapes and values; and of the tensors."""
    whole, raised = file.read_bytes(), 0
    expected, tensors = open_saved(file), open_saved(file).tensors()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        try:
            saved = open_saved(file)
            read = saved.tensors()
        except SkipweaveError:
            raised += 1
            continue
        assert saved == expected
        assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert raised > 0.9 * len(whole)


def test_a_pickle_is_not_opened(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "trapped",))

    (tmp_path / "a").write_bytes(pickle.dumps(Trap()))
    torch.save({"a": torch.ones(1)}, tmp_path / "b")
    for name in "ab":
        with raises(tmp_path / name):
            open_saved(tmp_path / name)
    assert not (tmp_path / "trapped").exists()


def test_a_file_of_another_program_raises(tmp_path: Path):
    save_file({"a": torch.ones(1)}, tmp_path / "a")
    with raises(tmp_path / "a", "skipweave"):
        open_saved(tmp_path / "a")
    with raises(tmp_path / "none"):
        open_saved(tmp_path / "none")


def test_tensors_of_another_network_raise(file: Path):
    saved = open_saved(file)
    own = {name.removeprefix("net/"): value.to("meta") for name, value in TENSORS.items() if name.startswith("net/")}
    saved.expect(own, "net/", "model")
    with raises("weight", "2x3", "2x4"):
        saved.expect({**own, "weight": torch.empty(2, 4)}, "net/", "model")
    with raises("bias", 5):
        saved.expect({**own, "bias": torch.empty(5)}, "net/", "model")
    with raises("steps"):
        saved.expect({key: own[key] for key in ("weight", "half")}, "net/", "model")
    with raises("steps"):
        saved.expect({**own, "steps": torch.empty(())}, "net/", "model")
    saved.expect({**own, "half": torch.empty(3, dtype=torch.float64)}, "net/", "model")
