"""Dataset of a table of labels."""

from pathlib import Path

import numpy as np

from skipweave.data.image_datasets import DatasetSplits, FileDataset
from skipweave.data.images.decoding import first_pixel_type
from skipweave.data.sources.label_table import LabelTable, read_table
from skipweave_config.data_config import DataConfig


def read_csv(config: DataConfig) -> DatasetSplits:
    """Load a table of labels; images are decoded on access.

    Raises:
        SkipweaveError: The table cannot be read or has mistakes, all of which are reported.
    """
    table = open_table(config, lenient=config.on_bad == "skip").check()
    images = FileDataset(table.paths, table.labels, in_chans=3, groups=table.groups)
    images.set_kind(first_pixel_type(images.paths), config.channels)
    if table.splits is None:
        return DatasetSplits(table.classes, images, divided=False, notes=table.notes)
    splits = np.array(table.splits)
    train, val, test = (images.subset(np.flatnonzero(splits == name)) for name in ("train", "val", "test"))
    return DatasetSplits(
        table.classes, train, val if len(val) else None, test if len(test) else None, notes=table.notes
    )


def open_table(config: DataConfig, *, lenient: bool = False) -> LabelTable:
    """Load the table of a config, with its mistakes.

    Args:
        config: Config of a dataset `csv`.
        lenient: Whether image files may be missing.

    Raises:
        SkipweaveError: The table cannot be read.
    """
    source = (config.labels or Path()).expanduser()
    root = config.root.expanduser() if config.root else source.parent
    given = {name: getattr(config, f"{name}_column") for name in ("path", "label", "split", "group")}
    return read_table(source, root, names={name: own for name, own in given.items() if own}, lenient=lenient)
