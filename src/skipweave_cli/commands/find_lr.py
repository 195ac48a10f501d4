"""`skipweave find-lr`: a learning-rate range test."""

from rich.progress import Progress

from skipweave.files.atomic_write import as_csv, write_text
from skipweave.plotting.lr_range_plot import plot_lr_range
from skipweave.training.distributed.devices import make_fabric, slow_precision_note
from skipweave.training.optimization.lr_range_test import LrRangeTest, lr_range_test
from skipweave_cli.options import FindLrOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import BAR, new_table, print_table, say

_SHOWN = 20  # lines of the table, at most


def find_lr(options: FindLrOptions) -> None:
    """Print the losses at rising learning rates, and a suggestion.

    Raises:
        SkipweaveError: A file exists already, or as `skipweave.training.fit`.
    """
    config = options.config
    if options.save:
        make_room((options.save, options.save.with_suffix(".svg")))
    if slow := slow_precision_note(config.precision, make_fabric(config.accelerator).device):
        say(slow)
    with Progress(*BAR, transient=True) as bars:
        bar = bars.add_task("steps", total=options.steps)
        test = lr_range_test(
            config,
            start=options.start_lr,
            end=options.end_lr,
            steps=options.steps,
            progress=lambda done: bars.update(bar, completed=done),
        )
    _print(test)
    if options.save:
        columns = ("learning_rate", "loss", "smoothed_loss")
        write_text(options.save, as_csv([columns, *zip(test.rates, test.losses, test.smoothed, strict=True)]))
        plot = options.save.with_suffix(".svg")
        plot_lr_range(test.rates, test.losses, test.smoothed, test.suggestion, plot)
        say(f"saved {options.save} and {plot}")


def _print(test: LrRangeTest) -> None:
    columns = ("learning rate", "loss", "smoothed loss")
    table = new_table(*columns, right=columns)
    for step in range(0, len(test.rates), -(-len(test.rates) // _SHOWN)):
        table.add_row(f"{test.rates[step]:.3g}", f"{test.losses[step]:.4f}", f"{test.smoothed[step]:.4f}")
    print_table(table)
    if test.suggestion is None:
        say("no suggestion: the loss did not fall; try a smaller --start_lr or more --steps")
    else:
        say(f"suggested learning rate: --optim.lr {test.suggestion:.2g}")
