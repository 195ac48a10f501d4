"""`skipweave export`: a trained model in other formats."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

from torch import nn

from skipweave.engines import FILES, EngineNet, Format, check_formats, load_onnx, load_openvino, model_files
from skipweave.export import hub_config, model_card, to_onnx
from skipweave.files.atomic_write import remove_partial, write_together
from skipweave.files.hub import local_weights
from skipweave.inference.calibration import calibration_images
from skipweave.inference.evaluation import evaluate_images
from skipweave.training import METRICS, Description, Which, load_run, load_run_images, load_weights
from skipweave.training.checkpoint.weights_file import save_weights
from skipweave.training.model_building import count_parameters
from skipweave.training.run.run_directory import RunDirectory
from skipweave_cli.checkpoint_choice import check_which
from skipweave_cli.options import ExportOptions
from skipweave_cli.output_files import check_room, make_room
from skipweave_cli.tables import complain, say
from skipweave_cli.training_display import metrics_text
from skipweave_config.errors import SkipweaveError
from skipweave_config.extras import require

Writer = bytes | Callable[[Path], object]

_LARGE_LOSS = 1.0  # of the metric by compressed weights, in points
_TIMM = ("model.safetensors", "config.json", "README.md")


def export(options: ExportOptions) -> None:
    """Write a trained model for inference engines, or as a directory that timm and the Hugging Face Hub take.

    Raises:
        SkipweaveError: There is no such model, it cannot be exported, a package is missing, or a file exists already.
    """
    output = options.output
    for_engines: list[Format] = [form for form in dict.fromkeys(options.formats) if form != "timm"]
    names = [*(name for form in for_engines for name in FILES[form]), *_TIMM * ("timm" in options.formats)]
    paths = [output / name for name in names]
    check_room(paths, "--output")
    _check_weights(options, for_engines)
    trained, description, metrics = _loaded(options.network, options.which)
    make_room(paths, "--output")
    remove_partial(output, (*_TIMM, *chain(*FILES.values())))  # of an export that was killed
    writers: dict[str, Writer] = {}
    if "timm" in options.formats:  # which raises sooner
        writers |= _for_timm(trained, description, metrics)
    if for_engines:
        writers |= _for_engines(trained, description, for_engines, options)
    write_together({output / name: write for name, write in writers.items()})
    for name in writers:
        say(f"saved {output / name} ({(output / name).stat().st_size:,} bytes)")


def _check_weights(options: ExportOptions, formats: list[Format]) -> None:
    """Check what can be checked before the network is loaded."""
    is_run = Path(options.network).is_dir()
    check_which(options.which, options.network)
    if formats:
        check_formats(formats, options.weights, calibrated=options.weights == "int8")
    elif options.weights != "float32":
        raise SkipweaveError(f"weights is {options.weights}: expected the format onnx or openvino, not only timm")
    if options.weights == "int8" and not is_run:
        raise SkipweaveError(
            f"weights is int8 and the model is {options.network}: expected a run directory, whose images calibrate it"
        )
    if options.weights != "float32" and is_run and "onnx" in formats:
        require("onnxruntime")  # for the metrics


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
        "config.json": config.encode(),
        "README.md": card.encode(),
    }


def _for_engines(
    network: nn.Module, description: Description, formats: list[Format], options: ExportOptions
) -> dict[str, Writer]:
    run, images = Path(options.network), None
    if options.weights == "int8":
        images = calibration_images(load_run_images(run, "train", options.which, options.root))
    model = to_onnx(network, description, batch=options.batch)
    files, compared = model_files(model, formats, options.weights, images)
    for name, comparison in compared.items():
        say(f"{name}, {', '.join(model.outputs)}: {comparison}")
    if options.weights != "float32" and run.is_dir():
        _say_metrics(options, files)
    return {**files}


def _say_metrics(options: ExportOptions, files: Mapping[str, bytes]) -> None:
    """Print the metrics of the validation images before and after the weights were compressed."""
    try:
        run = load_run_images(Path(options.network), "validation", options.which, options.root)
    except SkipweaveError as error:
        say(f"no metrics of validation images: {error}")
        return
    networks = {"float32": run.network}
    if "model.onnx" in files:
        networks[f"{options.weights}, onnxruntime"] = EngineNet(load_onnx(files["model.onnx"]))
    if "model.xml" in files:
        networks[f"{options.weights}, openvino"] = EngineNet(load_openvino((files["model.xml"], files["model.bin"])))
    measured = {}
    for name, network in networks.items():
        *_, metrics = evaluate_images(replace(run, network=network), accelerator="cpu")
        say(f"validation, {name}: {metrics_text(metrics.compute())}")
        measured[name] = metrics.metric.rank(metrics.value)
    before = measured.pop("float32")
    for name, value in measured.items():
        if (worse := value - before) > _LARGE_LOSS:
            complain(
                f"{name}: {metrics.metric.label} is {worse:.2f} points worse than in float32: compare engines on test "
                f"images by `skipweave test {options.network} --model FILE`, or export float32",
                "warning",
            )
