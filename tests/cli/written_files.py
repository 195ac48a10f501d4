"""Write files of every kind that skipweave writes, with the clock standing still, into a folder.

    python -m tests.cli.written_files FOLDER [quick]

Two processes must fill two folders with the same bytes: these follow from configs, data and seeds alone.
"""

import json
import shlex
import sys
from contextlib import ExitStack, chdir
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
from PIL import Image

from skipweave_cli import main

FIT = "fit --epochs 1 --accelerator cpu --output runs"
DIGITS = f"{FIT} --batch_size 512 --model.args.units 2 --model.args.growth 2 --data.validation 300"
MASKS = (
    f"{FIT} --data.name masks --data.root data --batch_size 4 --loss.class_weights median_frequency "
    "--model.name fc_logdensenet103 --model.args.units [1,1,1] --model.args.growth 2"
)
DIVERGES = f"{FIT} --batch_size 512 --model.name densenet40_12 --model.args.units 1 --optim.lr 1e30"
STUDY = "study --seeds [0] --epochs 1 --match null --timing_repeats 0 --processes 1 --output study"
NETWORKS = json.dumps([{"name": name, "args": {"units": 1}} for name in ("sparsenet40_24", "densenet40_12")])
RUN, LABELS = "runs/sparsenet40_12_digits_1", "runs/fc_logdensenet103_masks_1"

QUICK = [  # commands, and the status that each ends with
    (DIGITS, 0),
    (f"export {RUN} --output exported --formats [timm]", 0),
    (f"predict digit.png --run {RUN} --output predictions.csv", 0),
    (f"predict digit.png --run {RUN} --output predictions.json", 0),
    (f"test {RUN} --save evaluated --accelerator cpu", 0),
    (f"plot {RUN} --kind reuse --save reuse.svg", 0),
    ("check-data --data.name masks --data.root data --save problems.csv", 0),
]
ALL = [
    *QUICK,
    (MASKS, 0),
    (DIVERGES, 2),
    (f"export {RUN} --output runtime --formats [onnx]", 0),
    (f"predict data/images/0.png --run {LABELS} --output predicted", 0),
    (f"exits {LABELS} --save exits --image 0", 0),
    (f"plot {RUN} --save pictures", 0),
    (f"plot {RUN} --kind connections --save connections.pdf", 0),
    ("show sparsenet40_12 --save shown", 0),
    (f"prune-links {RUN} --below 0.9 --output pruned", 0),
    (f"{STUDY} --networks '{NETWORKS}'", 0),
]


def make_images() -> None:
    """Write a digit, and eight images with masks."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save("digit.png")
    for folder in ("images", "masks"):
        Path("data", folder).mkdir(parents=True)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(f"data/images/{number}.png")
        Image.fromarray(rng.integers(0, 2, (16, 24), dtype=np.uint8)).save(f"data/masks/{number}.png")
    Path("data", "classes.csv").write_text("name,value,r,g,b\nsky,0,90,140,250\nground,1,120,80,40\nvoid,255,0,0,0\n")


def write(folder: Path, commands: list[tuple[str, int]]) -> None:
    """Fill a folder, which is made for it."""
    folder.mkdir()
    moment = SimpleNamespace(now=lambda: datetime(2026, 1, 1).astimezone())
    with ExitStack() as stack:
        stack.enter_context(chdir(folder))
        stack.enter_context(patch("skipweave.training.run.run_log.datetime", moment))
        stack.enter_context(patch("skipweave.training.energy._packages", lambda powercap: []))  # measured, too
        for clock in ("time", "perf_counter"):
            stack.enter_context(patch(f"time.{clock}", lambda: 0.0))
        make_images()
        for command, status in commands:
            assert main(shlex.split(command)) == status, command


if __name__ == "__main__":
    write(Path(sys.argv[1]), QUICK if "quick" in sys.argv else ALL)
