"""`skipweave export`: a trained model in other formats."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from torch import nn

from skipweave.export import hub_config, model_card, to_onnx
from skipweave.files.atomic_write import replacing, write_text
from skipweave.files.hub import local_weights
from skipweave.training import METRICS, Description, Which, load_run, load_weights
from skipweave.training.checkpoint.weights_file import save_weights
from skipweave.training.model_building import count_parameters
from skipweave.training.run.run_directory import RunDirectory
from skipweave_cli.options import ExportOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import say

Format = Literal["onnx", "timm"]
Writer = Callable[[Path], None]

_FILES: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("model.onnx",),
    "timm": ("model.safetensors", "config.json", "README.md"),
}


def export(options: ExportOptions) -> None:
    """Write a trained model to ONNX, or as a directory that timm and the Hugging Face Hub take.

    Raises:
        SkipweaveError: There is no such model, it cannot be exported, a package is missing, or a file exists already.
    """
    chosen, output = tuple(dict.fromkeys(options.formats)), options.output
    trained, description, metrics = _loaded(options.network, options.which)
    make_room([output / name for form in chosen for name in _FILES[form]], "--output")
    writers: dict[str, Writer] = {}
    if "timm" in chosen:  # which raises sooner
        writers |= _for_timm(trained, description, metrics)
    if "onnx" in chosen:
        writers |= _for_onnx(trained, description)
    for name, write in writers.items():
        write(output / name)
        say(f"saved {output / name} ({(output / name).stat().st_size:,} bytes)")


def _loaded(network: str, which: Which) -> tuple[nn.Module, Description, dict[str, str]]:
    """The network, its description, and the metrics that the run has of these very weights, by metric and split."""
    path = local_weights(Path(network))
    if not path.is_dir():
        return *load_weights(path), {}
    trained, _, description = load_run(path, which)
    summary = RunDirectory(path).read_summary()
    if summary is None or which not in ("best", summary.weights):
        return trained, description, {}
    metric, values = METRICS[summary.metric], {"validation": summary.val_value, "test": summary.test_value}
    named = {f"{metric.label}, {split} images": value for split, value in values.items()}
    return trained, description, {name: metric.text(value) for name, value in named.items() if value is not None}


def _for_timm(network: nn.Module, description: Description, metrics: Mapping[str, str]) -> dict[str, Writer]:
    config = json.dumps(hub_config(network, description), indent=2) + "\n"
    card = model_card(description, count_parameters(network), metrics)
    return {
        "model.safetensors": lambda path: save_weights(path, network.state_dict(), description),
        "config.json": lambda path: write_text(path, config),
        "README.md": lambda path: write_text(path, card),
    }


def _for_onnx(network: nn.Module, description: Description) -> dict[str, Writer]:
    model = to_onnx(network, description)
    say(
        f"{', '.join(model.outputs)}: as the network's to {model.difference:.1e}, the largest being "
        f"{model.largest:.3g} ({model.checked_by}, 2 random images)"
    )

    def write(path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(model.content)

    return {"model.onnx": write}
