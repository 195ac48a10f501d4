"""Damaged and malicious files of every kind that a command loads: rejected, with little memory and nothing written."""

import json
import os
import pickle
import resource
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from skipweave.training import load_weights
from skipweave.training.checkpoint.tensor_file import seal
from skipweave_cli import main
from tests.errors import raises

Header = dict[str, Any]
Damage = Callable[[Path], None]

TINY = ["--model.name", "sparsenet40_24", "--model.args.units", "1", "--model.args.growth", "2", "--batch_size", "512"]
MOST_MEMORY = 2**29  # bytes, on top of what a process has that has trained a network


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch that is not finished: its summary is taken away, so that it can be resumed."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["--data.validation", "900", "--epochs", "2", "--accelerator", "cpu"]
    assert main(["fit", *TINY, *words, "--output", str(folder)]) == 0
    run = next(folder.iterdir())
    (run / "summary.json").unlink()
    shutil.copyfile(run / "checkpoints" / "last.safetensors", run / "checkpoints" / "previous.safetensors")
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, whose file of weights is also what the hub gives for any name."""
    copy = shutil.copytree(trained, tmp_path / "run")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(copy / "model.safetensors"))
    return copy


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


# What is done to each file of tensors.


def tensors(header: bytes, data: bytes = b"", length: int | None = None) -> Damage:
    """A file with this header, whose length may be stored wrongly."""
    return lambda path: put(path, struct.pack("<Q", len(header) if length is None else length) + header + data)


def put(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def entry(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def of_one(tensor: Any, data: bytes = b"\0" * 8) -> Damage:
    return tensors(json.dumps({"a": tensor}).encode(), data)


def sealed(header: Header, data: bytes = b"") -> bytes:
    """A file with a valid seal for this header."""
    entries = {name: values for name, values in header.items() if name != "__metadata__"}
    kinds = {name: values["dtype"] for name, values in entries.items()}
    shapes = {name: tuple(values["shape"]) for name, values in entries.items()}
    metadata = header["__metadata__"]
    encoded = json.dumps(
        header | {"__metadata__": metadata | {"seal": seal(metadata["skipweave"], kinds, shapes)}}
    ).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def described_by(info: str) -> Damage:
    return lambda path: put(path, sealed({"__metadata__": {"skipweave": info}}))


def sparse(size: int) -> Damage:
    """A sparse file of this size, with one tensor of this size."""

    def write(path: Path) -> None:
        metadata = header_of(path)[0]["__metadata__"]
        content = sealed({"__metadata__": metadata, "head.fc.weight": entry("F32", [size // 4], [0, size])})
        put(path, content)
        os.truncate(path, len(content) + size)

    return write


def header_of(path: Path) -> tuple[Header, bytes]:
    content = path.read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def info(**changes: Any) -> Damage:
    """The same file with changed plain values; one is set deep in them by `a__b`."""

    def write(path: Path) -> None:
        header, data = header_of(path)
        values = json.loads(header["__metadata__"]["skipweave"])
        for name, value in changes.items():
            *outer, last = name.split("__")
            place = values
            for key in outer:
                place = place.get(key, {}) if isinstance(place, dict) else {}
            place[last] = value
        header["__metadata__"]["skipweave"] = json.dumps(values)
        put(path, sealed(header, data))

    return write


def as_whole_numbers(path: Path) -> None:
    header, data = header_of(path)
    name = next(name for name in header if name.endswith("fc.weight") and "/" not in name.replace("network/", ""))
    header[name]["dtype"] = "I32"
    put(path, sealed(header, data))


def pickled(path: Path) -> None:
    put(path, pickle.dumps(Trap(path.parent / "trapped")))


def zipped(path: Path) -> None:
    path.unlink()
    torch.save({"a": Trap(path.parent / "trapped")}, path)


def bomb(path: Path) -> None:
    """Many zeros in few bytes."""
    path.unlink()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data", bytes(2**22))


def header_of_100_mb(path: Path) -> None:
    put(path, struct.pack("<Q", 100_000_000))
    os.truncate(path, 100_000_008)


def replaced_by(make: Callable[[Path], object]) -> Damage:
    def write(path: Path) -> None:
        path.unlink()
        make(path)

    return write


TENSORS: dict[str, Damage] = {
    "pickle": pickled,
    "torch.save": zipped,
    "zip bomb": bomb,
    "empty": lambda path: put(path, b""),
    "header of 2^63 bytes": tensors(b"{}", length=2**63),
    "header of 100 MB": header_of_100_mb,
    "header beyond the file": tensors(b"{}", length=1000),
    "header is no JSON": tensors(b"\x80\x04}q\x00."),
    "header is a list": tensors(b"[]"),
    "header nested deeply": tensors(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "description nested deeply": described_by("[" * 100_000),
    "no description": of_one(entry(), b"\0" * 4),
    "description is a list": described_by("[]"),
    "offsets beyond the file": of_one(entry(shape=[1000], offsets=[0, 4000])),
    "offsets that overlap": tensors(
        json.dumps({"a": entry(shape=[2], offsets=[0, 8]), "b": entry(offsets=[4, 8])}).encode(), bytes(8)
    ),
    "offsets backwards": of_one(entry(offsets=[8, 4])),
    "negative offsets": of_one(entry(offsets=[-4, 0])),
    "unknown numbers": of_one(entry("F99")),
    "numbers that torch lacks": of_one(entry("F8_E8M0", [8], [0, 8])),
    "negative shape": of_one(entry(shape=[-1])),
    "huge shape": of_one(entry(shape=[2**62, 2**62], offsets=[0, 8])),
    "shape is text": of_one(entry(shape="1")),
    "a tensor twice": tensors(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],'
                              b'"data_offsets":[4,8]}}', bytes(8)),
    "a tebibyte": sparse(2**40),
    "whole numbers": as_whole_numbers,
    "pipe": replaced_by(os.mkfifo),
    "endless": replaced_by(lambda path: path.symlink_to("/dev/zero")),
    "folder": replaced_by(Path.mkdir),
    "huge network": info(description__args__growth=10**7),
    "absurd network": info(description__args__growth=10**30),
    "endless network": info(description__args__units=10**6),
    "another's modules": info(
        description__model="resnet50", description__args={"layers": [10**6] * 4, "num_classes": 10, "in_chans": 1}
    ),
    "hub's name": info(description__model="hf-hub:someone/something"),
    "path as name": info(description__model="../../etc/passwd"),
    "pretrained": info(description__args__pretrained=True),
    "another file": info(description__args__pretrained_cfg={"file": "/etc/passwd"}),
    "class path": info(description__args__topology={"class_path": "antigravity.Anything", "init_args": {}}),
    "code as topology": info(description__args__topology="__import__('antigravity')"),
    "nest as topology": info(description__args__topology="(" * 5000),
    "no model": info(description__model=None),
    "args are a list": info(description__args=[]),
    "no description in it": info(description=3),
    "fewer classes": info(description__classes=["a"]),
    "a class that is a nest": info(description__classes=[[[]]] * 10, description__args__num_classes=9),
    "palette of nothing": info(description__palette=[[0, 0, 0]]),
    "palette of text": info(description__palette=[["a", "b", "c"]] * 11),
    "palette for labels of images": info(description__palette=[[0, 0, 0]] * 11),
    "huge images": info(description__preprocessing__crop=10**6, description__preprocessing__resize=10**6),
    "endless images": info(description__preprocessing__crop=float("inf")),
    "preprocessing of text": info(description__preprocessing="none"),
    "preprocessing of nothing": info(description__preprocessing__std=[0.0]),
}  # fmt: skip

COMMANDS = {
    "resume": lambda run: ["fit", "--resume", str(run)],
    "start": lambda run: ["fit", *TINY, "--start", str(run / "model.safetensors"), "--output", str(run.parent / "new")],
    "test": lambda run: ["test", str(run)],
    "test the last": lambda run: ["test", str(run), "--which", "last"],
    "validate": lambda run: ["validate", str(run)],
    "predict by a run": lambda run: ["predict", "picture.png", "--run", str(run)],
    "predict by a file": lambda run: [
        "predict",
        "picture.png",
        "--model",
        str(run / "model.safetensors"),
    ],
    "exits": lambda run: ["exits", str(run)],
    "plot a run": lambda run: ["plot", str(run)],
    "plot a file": lambda run: ["plot", str(run / "model.safetensors")],
    "predict from the hub": lambda run: ["predict", "picture.png", "--model", "hf-hub:someone/birds"],
    "export a run": lambda run: ["export", str(run), "--output", str(run.parent / "exported")],
    "export a file": lambda run: [
        "export",
        str(run / "model.safetensors"),
        "--formats",
        "[timm]",
        "--output",
        str(run.parent / "exported"),
    ],
    "prune-links": lambda run: ["prune-links", str(run), "--output", str(run.parent / "thin")],
}


def rejected(words: list[str], run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command, which must change no file."""
    around = run.parent
    before, memory = contents(around), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    capsys.readouterr()
    assert main(words) == 2, capsys.readouterr().out
    message = capsys.readouterr().err
    assert message.startswith("skipweave: error: ")
    assert "Traceback" not in message
    assert contents(around) == before
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < MOST_MEMORY
    return message


def contents(folder: Path) -> dict[str, int]:
    """Every file, and when it was changed; but for a study's settings, which it writes down when it goes on."""
    files = [path for path in folder.rglob("*") if not path.is_dir() and path != folder / "study" / "config.yaml"]
    return {str(path): path.lstat().st_mtime_ns for path in files}


SLOW = {"another's modules"}  # which are built up to a limit
SOME = ("header of 100 MB", "a tebibyte", "pipe", "endless", "whole numbers", "huge network", "class path", "folder")
QUICK = [("predict by a file", kind) for kind in TENSORS if kind not in SLOW] + [
    (command, kind) for command in ("resume", "test the last") for kind in SOME
]
# `--start` takes tensors for a network that it has: what the file says of its own is not looked at.
NOT_LOOKED_AT = {kind for kind in TENSORS if kind.endswith((" network", " topology", "modules"))} | {
    "hub's name", "path as name", "pretrained", "another file", "class path",
}  # fmt: skip
OTHERS = [
    (command, kind)
    for command in COMMANDS
    for kind in TENSORS
    if (command, kind) not in QUICK and not (command == "start" and kind in NOT_LOOKED_AT)
]


def check_rejected(command: str, kind: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted(run.rglob("*.safetensors")):
        TENSORS[kind](path)
    rejected(COMMANDS[command](run), run, capsys)
    assert list(run.rglob("trapped")) == []
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(("command", "kind"), QUICK)
def test_damaged_tensors_are_rejected(command: str, kind: str, run: Path, capsys: pytest.CaptureFixture[str]):
    check_rejected(command, kind, run, capsys)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "kind"), OTHERS)
def test_damaged_tensors_are_rejected_by_every_command(
    command: str, kind: str, run: Path, capsys: pytest.CaptureFixture[str]
):
    check_rejected(command, kind, run, capsys)


@pytest.mark.parametrize("command", ["export a run", "export a file", "plot a file"])
def test_an_undamaged_run_is_accepted(command: str, run: Path):
    assert main(COMMANDS[command](run)) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_rejects_a_pickle_without_running_it(command: str, run: Path, capsys: pytest.CaptureFixture[str]):
    check_rejected(command, "pickle", run, capsys)


def test_the_python_interface_raises(run: Path):
    zipped(run / "model.safetensors")
    with raises(run / "model.safetensors"):
        load_weights(run / "model.safetensors")


# What is done to the rest of a run directory.


def changed_config(change: Callable[[dict[str, Any]], object]) -> Damage:
    def write(run: Path) -> None:
        values = yaml.safe_load((run / "config.yaml").read_text())
        change(values)
        (run / "config.yaml").write_text(yaml.safe_dump(values))

    return write


def text(name: str, content: str) -> Damage:
    return lambda run: (run / name).write_text(content)


def checkpoint(**changes: Any) -> Damage:
    def write(run: Path) -> None:
        for name in ("last", "previous"):
            info(**changes)(run / "checkpoints" / f"{name}.safetensors")

    return write


def extra_moment(run: Path) -> None:
    for name in ("last", "previous"):
        path = run / "checkpoints" / f"{name}.safetensors"
        header, data = header_of(path)
        header["optimizer/stem.conv.weight/more"] = entry("F32", [2], [len(data), len(data) + 8])
        encoded = json.dumps(header).encode()
        put(path, struct.pack("<Q", len(encoded)) + encoded + data + bytes(8))


def linked(name: str, target: str) -> Damage:
    """Something in the folder that leads out of it."""

    def write(run: Path) -> None:
        path = run / name
        if path.is_dir():
            shutil.move(path, run.parent / "moved")
        path.unlink(missing_ok=True)
        path.symlink_to(run.parent / target)

    return write


def pipe_as(name: str) -> Damage:
    def write(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return write


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in pairwise("abcdefghijk")
)
FOLDER: dict[str, Damage] = {
    "python's tag": text("config.yaml", "epochs: !!python/object/apply:os.system ['touch trapped']\n"),
    "a billion laughs": text("config.yaml", LAUGHS),
    "a nest": text("config.yaml", "[" * 2000),
    "no settings": text("config.yaml", "1\n"),
    "settings with a pipe": pipe_as("config.yaml"),
    "settings without end": linked("config.yaml", "../../../../../../../../dev/zero"),
    "class path": changed_config(lambda c: c["model"]["args"].update(topology={"class_path": "antigravity.A"}, x={})),
    "class path for a part": changed_config(lambda c: c.update(optim={"class_path": "antigravity.A", "init_args": {}})),
    "types": changed_config(lambda c: c.update(epochs="many", model=[1], data=None)),
    "other settings": changed_config(lambda c: c["model"]["args"].update(growth=10**7)),
    "endless units": changed_config(lambda c: c["model"]["args"].update(units=10**6)),
}  # fmt: skip
STATE: dict[str, Damage] = {
    "summary is a nest": text("summary.json", "[" * 100_000),
    "summary is of other types": text("summary.json", '{"run_dir": 1, "model": []}'),
    "summary is no number": text("summary.json", '{"epochs": NaN}'),
    "summary with a pipe": pipe_as("summary.json"),
    "rows are text": checkpoint(state__rows="none"),
    "rows of other types": checkpoint(state__rows=[{"epoch": "one"}]),
    "more epochs than rows": checkpoint(state__epoch=100),
    "before the first step": checkpoint(state__step=-5),
    "metrics are a nest": checkpoint(state__metrics=[[[["a"]]]]),
    "no state": checkpoint(state=None),
    "optimizer is a list": checkpoint(optimizer=[1]),
    "optimizer of strange names": checkpoint(optimizer={"a": 1}),
    "moments of no use": extra_moment,
    "a weight file as checkpoint": checkpoint(format="skipweave weights 1"),
    "checkpoints elsewhere": linked("checkpoints", "moved"),
    "metrics elsewhere": linked("metrics.csv.partial", "outside.csv"),
    "events elsewhere": linked("events", "moved"),
}


OF_WEIGHTS = {"class path", "other settings", "endless units"}  # `test` builds what the file of weights says


@pytest.mark.parametrize(
    ("command", "kind"), [*product(["resume"], FOLDER), *product(["test"], sorted(FOLDER.keys() - OF_WEIGHTS))]
)
def test_damaged_configs_are_rejected(command: str, kind: str, run: Path, capsys: pytest.CaptureFixture[str]):
    FOLDER[kind](run)
    rejected(COMMANDS[command](run), run, capsys)
    assert "antigravity" not in sys.modules
    assert not list(Path().glob("trapped"))


@pytest.mark.parametrize("kind", STATE)
def test_damaged_states_are_rejected(kind: str, run: Path, capsys: pytest.CaptureFixture[str]):
    (run.parent / "outside.csv").write_text("mine")
    STATE[kind](run)
    rejected(COMMANDS["resume"](run), run, capsys)
    assert (run.parent / "outside.csv").read_text() == "mine"


def test_the_config_of_a_run_cannot_start_a_download(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def forbidden(*args: object, **options: object) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", forbidden)
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", forbidden)
    there = run.parent / "there"
    changed_config(lambda c: c["data"].update(name="mnist", root=str(there), download=True))(run)
    for command in ("resume", "test"):
        assert "mnist" in rejected(COMMANDS[command](run), run, capsys)
    assert not there.exists()


def test_text_of_a_file_has_no_control_characters(run: Path, capsys: pytest.CaptureFixture[str]):
    changed_config(lambda c: c["model"].update(name="\x1b]0;title\x07\x1b[2J[/red]"))(run)
    assert "\x1b" not in rejected(COMMANDS["resume"](run), run, capsys)


# A study directory.


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one network that is finished but for its report."""
    folder = tmp_path_factory.mktemp("studied") / "study"
    network = {"name": "sparsenet40_24", "args": {"units": 1, "growth": 2}, "label": "tiny"}
    words = ["--networks", json.dumps([network]), "--seeds", "[0]", "--epochs", "1", "--batch_size", "512"]
    words += ["--time_engines", "false"]
    more = ["--processes", "1", "--match", "null", "--timing_repeats", "1", "--output", str(folder)]
    assert main(["study", *words, *more]) == 0
    return folder


def of_run(change: Damage) -> Damage:
    return lambda study: change(next(study.glob("runs/*/*/*/")))


STUDY: dict[str, Damage] = {
    **{kind: FOLDER[kind] for kind in ("python's tag", "a billion laughs", "settings with a pipe", "types")},
    "network of strange names": changed_config(lambda c: c["networks"][0].update(path="a", args=[1])),
    "hub's name": changed_config(lambda c: c["networks"][0].update(name="hf-hub:a/b")),
    "class path": changed_config(lambda c: c["networks"][0]["args"].update(a={"class_path": "antigravity.A"})),
    "times are a nest": text("timing.json", "[" * 100_000),
    "versions of a run are a list": of_run(text("versions.json", "[1]")),
    "metrics of a run are cut": of_run(text("metrics.csv", "epoch,train_loss\n1,x\n")),
    "predictions of a run are no numbers": of_run(text("test_predictions.csv", "label,predicted\n1,x\n")),
    "predictions of a run are of other classes": of_run(text("test_predictions.csv", "label,predicted\n1,10\n")),
    "summary of a run is a list": of_run(text("summary.json", "[]")),
    "settings of a run have a tag": of_run(text("config.yaml", "a: !!python/name:os.system")),
    "runs elsewhere": linked("runs", "moved"),
    "results elsewhere": linked("results.csv", "outside.csv"),
}


@pytest.mark.parametrize("kind", STUDY)
def test_damaged_studies_are_rejected(kind: str, studied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = shutil.copytree(studied, tmp_path / "study")
    (tmp_path / "outside.csv").write_text("mine")
    STUDY[kind](folder)
    rejected(["study", "--resume", str(folder)], folder, capsys)
    assert (tmp_path / "outside.csv").read_text() == "mine"
    assert "antigravity" not in sys.modules
