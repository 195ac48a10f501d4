"""`skipweave predict`: the classes or segmentation masks of images."""

import json
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from skipweave.data import list_images
from skipweave.data.sources.table_files import SEPARATOR
from skipweave.engines import EngineNet
from skipweave.export.exported_network import ENDINGS, in_engine, load_exported
from skipweave.files.atomic_write import as_csv, write_text
from skipweave.files.hub import local_weights
from skipweave.inference import Prediction
from skipweave.inference import predict as predict_images
from skipweave.training import Description, load_run, load_weights
from skipweave.training.distributed.devices import make_fabric
from skipweave_cli.options import PredictOptions
from skipweave_cli.output_files import check_room, make_room
from skipweave_cli.predicted_masks import write_masks
from skipweave_cli.tables import MOST_LINES, complain, new_table, print_table, say
from skipweave_config.errors import SkipweaveError
from skipweave_config.shipped_weights import default_classifier


def predict(options: PredictOptions) -> int:
    """Print the classes of images, or write their segmentation masks.

    Returns:
        The exit status: 2 if an image could not be read, which is reported on stderr; the others are predicted.

    Raises:
        SkipweaveError: There is no such model or image, or a file exists already.
    """
    output = options.output
    if output and output.is_file():
        check_room([output], "--output")
    _check_accelerator(options)
    network, description = _network(options)
    if options.uses_default:
        say(_about_default(description))
    _check_output(options, description)
    paths = [path for place in options.images for path in list_images(place)]
    network = _placed(network, description, options)
    if description.palette:
        place = output or Path("predictions")
        return write_masks(network, description, paths, place, soft=options.soft_masks, tta=options.tta)
    predictions = list(
        predict_images(
            network,
            description,
            paths,
            threshold=options.threshold,
            batch_size=options.batch_size,
            tta=options.tta,
        )
    )
    _show(predictions, options.top, output)
    if output:
        as_table = output.suffix == ".csv"
        write_text(output, _as_csv(predictions, description.classes) if as_table else _as_json(predictions))
    unreadable = [prediction.problem for prediction in predictions if prediction.problem]
    for problem in unreadable:
        complain(problem)
    for prediction in predictions:
        complain(prediction.warning, "warning")
    return 2 if unreadable else 0


def _network(options: PredictOptions) -> tuple[nn.Module, Description]:
    """The network of a file, which may be an exported one, or of a run; and its description."""
    if options.run:
        network, _, description = load_run(options.run)
        return network, description
    path = local_weights(options.model) if options.model else default_classifier().verified()
    return load_exported(path, options.engine, options.precision) if _is_exported(path) else load_weights(path)


def _is_exported(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS


def _check_accelerator(options: PredictOptions) -> None:
    engine = options.engine or ("the model's" if options.model and _is_exported(options.model) else "torch")
    if engine != "torch" and options.accelerator not in ("auto", "cpu"):
        raise SkipweaveError(f"accelerator is {options.accelerator} and the engine {engine}: expected cpu, or torch")


def _about_default(description: Description) -> str:
    """What the default classifier predicts, and how well."""
    shipped = default_classifier()
    facts, side = shipped.facts, description.preprocessing.crop
    value = facts.text(facts.value(augmented=False))
    return (
        f"{shipped.name}, trained on {facts.data}: one of {len(description.classes)} classes for images resized to "
        f"{side}x{side} pixels; test {facts.label} {value}"
    )


def _check_output(options: PredictOptions, description: Description) -> None:
    if description.palette:
        return
    if options.soft_masks:
        raise SkipweaveError(
            "soft_masks is true, but this is no segmentation network: --output FILE.csv has probabilities"
        )
    if options.output and options.output.suffix not in (".csv", ".json"):
        raise SkipweaveError(f"output is {str(options.output)!r}: should be a name that ends in .csv or .json")
    if options.output:
        make_room([options.output], "--output")


def _placed(network: nn.Module, description: Description, options: PredictOptions) -> nn.Module:
    """The network in its engine, or on its device."""
    if isinstance(network, EngineNet):
        return network
    engine = options.engine or "torch"
    run = in_engine(network, description, engine, options.precision)
    return run.to(make_fabric(options.accelerator).device) if engine == "torch" else run


def _show(predictions: Sequence[Prediction], top: int, output: Path | None) -> None:
    """Print a row per image; of many images the first ones."""
    table = new_table("image", "class", "probabilities")
    readable = [prediction for prediction in predictions if not prediction.problem]
    for prediction in readable[:MOST_LINES]:
        chances = ", ".join(f"{name} {chance:.1%}" for name, chance in prediction.top(top))
        table.add_row(str(prediction.path), _joined(prediction), chances)
    if readable:
        print_table(table)
    if len(readable) > MOST_LINES:
        where = f"all are in {output}" if output else "--output FILE.csv writes all"
        say(f"{MOST_LINES} of {len(readable)} images; {where}")


def _joined(prediction: Prediction) -> str:
    """The predicted classes, as in a table of labels."""
    return SEPARATOR.join(prediction.classes)


def _as_csv(predictions: Sequence[Prediction], classes: Sequence[str]) -> str:
    rows: list[list[object]] = [["image", "label", *classes, "problem"]]
    for prediction in predictions:
        chances = [prediction.probabilities.get(name, "") for name in classes]
        rows.append([prediction.path, _joined(prediction), *chances, prediction.problem or prediction.warning])
    return as_csv(rows)


def _as_json(predictions: Sequence[Prediction]) -> str:
    entries = [
        {
            "image": str(prediction.path),
            "classes": prediction.classes,
            "probabilities": prediction.probabilities,
            **({"problem": problem} if (problem := prediction.problem or prediction.warning) else {}),
        }
        for prediction in predictions
    ]
    return json.dumps(entries, indent=2) + "\n"
