"""Image datasets of the Hugging Face Hub, loaded by `datasets`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError

_SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
_EXPECTED = "expected a column of images and one of class labels, as of an image classification dataset"


class HubImages:
    """Map-style dataset of (PIL image, label) of one split.

    Args:
        table: Split, a `datasets.Dataset`.
        image: Column of images.
        label: Column of class labels, of one per image or lists.

    Attributes:
        classes: Class names.
        targets: Class indices, or 0 and 1 per class.
    """

    def __init__(self, table: Any, image: str, label: str) -> None:
        feature = table.features[label]
        several = getattr(feature, "feature", None)
        self.table = table
        self.image = image
        self.classes = list((several or feature).names)
        values = table[label]
        rows = ([int(number in row) for number in range(len(self.classes))] for row in values)
        self.targets = list(rows) if several else list(values)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.table[index][self.image], self.targets[index]


def read_hub(config: DataConfig) -> Mapping[str, HubImages]:
    """Load the splits of a dataset of the Hub, or of a directory in one of the formats that `datasets` loads.

    Returns:
        Datasets by split: train, and validation and test where present.

    Raises:
        SkipweaveError: `datasets` is not installed, or the dataset is missing or has no images and class labels.
    """
    try:
        import datasets
    except ImportError:
        raise SkipweaveError("data.name is hub, which needs datasets: pip install 'skipweave[hub]'") from None
    hub, place = config.hub or "", Path(config.hub or "").expanduser()
    saved = any((place / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        loaded = datasets.load_from_disk(str(place)) if saved else datasets.load_dataset(hub, cache_dir=config.root)
    except Exception as error:  # files, the network and every format raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SkipweaveError(
            f"cannot load data.hub {hub!r} ({reason}): expected the name of a dataset of the Hugging Face Hub, such as "
            f"uoft-cs/cifar10, or a directory"
        ) from error
    tables = loaded if isinstance(loaded, Mapping) else {"train": loaded}
    splits = {_SPLITS[name]: table for name, table in tables.items() if name in _SPLITS}
    if "train" not in splits:
        raise SkipweaveError(f"data.hub {hub!r} has the splits {', '.join(map(str, tables))}: expected train")
    image, label = _columns(hub, splits["train"].features)
    return {name: HubImages(table, image, label) for name, table in splits.items()}


def _columns(hub: str, features: Mapping[str, Any]) -> tuple[str, str]:
    """Find the first column of images and of class labels."""
    from datasets import ClassLabel, Image

    images = [name for name, kind in features.items() if isinstance(kind, Image)]
    labels = [name for name, kind in features.items() if isinstance(getattr(kind, "feature", kind), ClassLabel)]
    if not images or not labels:
        raise SkipweaveError(f"data.hub {hub!r} has the columns {', '.join(features)}: {_EXPECTED}")
    return images[0], labels[0]
