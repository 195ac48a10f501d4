"""`skipweave predict`: the classes or segmentation masks of images."""

import json
from collections.abc import Sequence
from pathlib import Path

from skipweave.data import list_images
from skipweave.files.atomic_write import as_csv, write_text
from skipweave.files.hub import local_weights
from skipweave.inference import Prediction
from skipweave.inference import predict as predict_images
from skipweave.training import load_run, load_weights
from skipweave_cli.options import PredictOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.predicted_masks import write_masks
from skipweave_cli.tables import complain, new_table, print_table
from skipweave_config.errors import SkipweaveError


def predict(options: PredictOptions) -> int:
    """Print the classes of images, or write their segmentation masks.

    Returns:
        The exit status: 2 if an image could not be read, which is reported on stderr; the others are predicted.

    Raises:
        SkipweaveError: There is no such model or image, or a file exists already.
    """
    output = options.output
    if options.run:
        network, _, description = load_run(options.run)
    else:
        network, description = load_weights(local_weights(options.model or Path()))
    paths = [path for place in options.images for path in list_images(place)]
    if description.palette:
        return write_masks(network, description, paths, output or Path("predictions"))
    if output and output.suffix not in (".csv", ".json"):
        raise SkipweaveError(f"output is {str(output)!r}: should be a name that ends in .csv or .json")
    if output:
        make_room([output], "--output")
    predictions = list(predict_images(network, description, paths, top=options.top))
    _show(predictions)
    if output:
        write_text(output, _as_csv(predictions) if output.suffix == ".csv" else _as_json(predictions))
    unreadable = [prediction.problem for prediction in predictions if prediction.problem]
    for problem in unreadable:
        complain(problem)
    return 2 if unreadable else 0


def _show(predictions: Sequence[Prediction]) -> None:
    table = new_table("image", "class", "probability", "next")
    for prediction in predictions:
        if not prediction.problem:
            first, *others = zip(prediction.classes, prediction.probabilities, strict=True)
            others_text = ", ".join(f"{name} {chance:.1%}" for name, chance in others)
            table.add_row(str(prediction.path), first[0], f"{first[1]:.1%}", others_text)
    if table.row_count:
        print_table(table)


def _as_csv(predictions: Sequence[Prediction]) -> str:
    ranks = range(1, 1 + max((len(prediction.classes) for prediction in predictions), default=0))
    rows: list[list[object]] = [
        ["image", *(f"{what}_{rank}" for rank in ranks for what in ("class", "probability")), "problem"]
    ]
    for prediction in predictions:
        named = [word for pair in zip(prediction.classes, prediction.probabilities, strict=True) for word in pair]
        rows.append([prediction.path, *(named or [""] * 2 * len(ranks)), prediction.problem])
    return as_csv(rows)


def _as_json(predictions: Sequence[Prediction]) -> str:
    entries = [
        {
            "image": str(prediction.path),
            "classes": dict(zip(prediction.classes, prediction.probabilities, strict=True)),
            **({"problem": prediction.problem} if prediction.problem else {}),
        }
        for prediction in predictions
    ]
    return json.dumps(entries, indent=2) + "\n"
