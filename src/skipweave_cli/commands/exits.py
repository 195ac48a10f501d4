"""`skipweave exits`: cost, metrics and predictions of each early exit of a run's network."""

import torch
from matplotlib.figure import Figure

from skipweave.analysis.profile import profile
from skipweave.data import SegmentationData, workers_warning
from skipweave.inference.evaluation import evaluate_images
from skipweave.plotting.figure_files import figure_paths, save_figure
from skipweave.plotting.mask_overlays import plot_masks
from skipweave.training import load_run_images
from skipweave.training.run.loading import RunImages
from skipweave_cli.options import ExitsOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import complain, new_table, print_table, say
from skipweave_cli.training_display import metrics_text
from skipweave_config.errors import SkipweaveError

_DRAWN = 4  # exits in a figure, evenly spaced, as in Log-DenseNet's Fig. 2


def exits(options: ExitsOptions) -> None:
    """Print cost and metrics of each exit of a run's model; with --save also draw their predicted masks.

    Raises:
        SkipweaveError: The model has no exits, or there is no such run, split or image.
    """
    run, save = options.run, options.save
    complain(workers_warning(options.workers), "warning")
    if save:
        make_room(figure_paths(save))
    loaded = load_run_images(run, options.split, options.which, options.root)
    macs = profile(loaded.network, (loaded.data.in_chans, *loaded.data.image_size)).exit_macs
    if not macs:
        raise SkipweaveError(f"the network of {run} has one head: train it with --model.args.heads stages")
    if save:
        figure = _figure(loaded, options.image or 0, macs)
        for path in save_figure(figure, save):
            say(f"saved {path}")
    table = new_table("exit", "MACs", "of all MACs", "metrics", right=("MACs", "of all MACs"))
    evaluated = evaluate_images(loaded, accelerator=options.accelerator, workers=options.workers)
    for number, (cost, metrics) in enumerate(zip(macs, evaluated, strict=True), start=1):
        name = "last" if number == len(macs) else str(number)
        table.add_row(name, f"{cost:,}", f"{cost / macs[-1]:.0%}", metrics_text(metrics.compute()))
    print_table(table)


def _figure(run: RunImages, number: int, macs: tuple[int, ...]) -> Figure:
    if not isinstance(run.data, SegmentationData):
        raise SkipweaveError(f"{run.data.name} has no segmentation masks to draw: leave --save out")
    if not 0 <= number < len(run.images):
        raise SkipweaveError(f"image is {number}: expected 0 to {len(run.images) - 1}")
    image, labels = run.images[number]
    assert isinstance(labels, torch.Tensor)
    with torch.inference_mode():
        heads = tuple(run.network.forward_anytime(run.data.preprocessing(image)[None]))  # type: ignore[operator]
    maps = {"mask": labels}
    for place in _spread(len(heads)):
        maps[f"exit {place + 1} of {len(heads)}, {macs[place] / macs[-1]:.0%} of the cost"] = heads[place][0].argmax(0)
    shown = run.data.preprocessing.as_bytes(image)
    return plot_masks(shown, maps, run.data.classes, run.data.palette, values=run.data.values)


def _spread(heads: int) -> list[int]:
    """The heads to draw: all of a few, else those after 1/4, 1/2, 3/4 and all of the stages."""
    few = min(heads, _DRAWN)
    return [round(heads * part / few) - 1 for part in range(1, few + 1)]
