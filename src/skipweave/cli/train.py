"""Commands that train a network and use a trained one."""

import json
from collections.abc import Sequence
from pathlib import Path

from skipweave.cli.output_files import make_room
from skipweave.cli.predicted_masks import write_masks
from skipweave.cli.tables import complain, new_table, print_table, say, say_of_workers
from skipweave.cli.training_display import RunDisplay, shown_scores
from skipweave.data import list_images
from skipweave.errors import SkipweaveError
from skipweave.export import local_weights
from skipweave.files.atomic_write import as_csv, write_text
from skipweave.inference import Prediction, evaluate
from skipweave.inference import predict as predict_images
from skipweave.training import FitConfig, Split, Which, load_run, load_weights
from skipweave.training import fit as fit_network


def fit(config: FitConfig, resume: Path | None = None) -> None:
    """Train a network on images. Without options: a SparseNet on scikit-learn's handwritten digits.

    Args:
        config: the settings.
        resume: folder of a run to continue from its last checkpoint; its settings hold.
    """
    fit_network(config, resume=resume, callbacks=[RunDisplay()])


def on_validation(
    run: Path, which: Which = "best", root: Path | None = None, accelerator: str = "auto", workers: int = 0
) -> None:
    """Tell the errors of a run on its validation images.

    Args:
        run: the run's folder.
        which: the checkpoint: best by validation error, or last.
        root: where the data is now, if not where the run read it.
        accelerator: auto, cpu, gpu, cuda or mps.
        workers: processes that read ahead.
    """
    _evaluate(run, "validation", which, root, accelerator, workers)


def on_test(
    run: Path, which: Which = "best", root: Path | None = None, accelerator: str = "auto", workers: int = 0
) -> None:
    """Tell the errors of a run on its test images.

    Args:
        run: the run's folder.
        which: the checkpoint: best by validation error, or last.
        root: where the data is now, if not where the run read it.
        accelerator: auto, cpu, gpu, cuda or mps.
        workers: processes that read ahead.
    """
    _evaluate(run, "test", which, root, accelerator, workers)


def predict(
    *images: Path, run: Path | None = None, model: Path | None = None, top: int = 3, output: Path | None = None
) -> int:
    """Tell the classes of images, or label their pixels, as the network was trained to.

    Args:
        images: image files, or folders of them.
        run: folder of a run, finished or not.
        model: a file of weights instead, such as a run's model.safetensors; or hf-hub:USER/REPO[@REVISION], whose
            model.safetensors is downloaded from the Hugging Face hub.
        top: how many classes to tell of each image.
        output: also write the predictions to this new .csv or .json file; for label maps the folder, `predictions` by
            default, that gets of each image NAME_labels.png, whose values are the labels, and NAME_overlay.png.
    """
    if run and not model:
        network, _, description = load_run(run)
    elif model and not run:
        network, description = load_weights(local_weights(model))
    else:
        raise SkipweaveError("give either --run DIR or --model FILE")
    paths = [path for place in images for path in list_images(place)]
    if description.palette:
        return write_masks(network, description, paths, output or Path("predictions"))
    if output and output.suffix not in (".csv", ".json"):
        raise SkipweaveError(f"output is {output}: expected a name that ends in .csv or .json")
    if output:
        make_room([output], "--output")
    predictions = list(predict_images(network, description, paths, top=top))
    _show(predictions)
    if output:
        write_text(output, _as_csv(predictions) if output.suffix == ".csv" else _as_json(predictions))
    unreadable = [prediction.problem for prediction in predictions if prediction.problem]
    for problem in unreadable:
        complain(problem)
    return 2 if unreadable else 0


def _evaluate(run: Path, split: Split, which: Which, root: Path | None, accelerator: str, workers: int) -> None:
    say_of_workers(workers)
    *exits, scores = evaluate(run, split, which, root=root, accelerator=accelerator, workers=workers)
    more = shown_scores(scores.further)
    say(f"{split}: error {scores.error:.2f} %{more}, loss {scores.mean_loss:.4f} ({scores.images:,} images)")
    for name, score in scores.further.items():
        if name.startswith("iou_"):
            say(f"  {name.removeprefix('iou_'):<16} IoU {score:6.2f} %")
    for number, early in enumerate(exits, start=1):
        say(f"  exit {number:<11} error {early.error:6.2f} %")


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
