"""Check of a whole dataset before training."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from skipweave.data.datasets import ClassificationData, check_classes, load
from skipweave.data.parallel_map import parallel_map
from skipweave.data.preprocessing import Range
from skipweave.data.segmentation import SegmentationData
from skipweave.data.validation.findings import Finding, Values, add_values, collect
from skipweave.data.validation.folder_checks import check_folders
from skipweave.data.validation.image_facts import ImageFacts
from skipweave.data.validation.split_report import SplitReport, find_leaks, place_facts, summarize
from skipweave_config.data_config import DataConfig


@dataclass(frozen=True)
class DataReport:
    """Result of a check.

    Attributes:
        images: Number of images read, masks not counted.
        findings: Problems of folders, then of files.
        values: Value ranges of the images, by pixel type.
        range: Values that are mapped to 0 and 1, if the images have more than 8 bits per channel and can be loaded.
        splits: Summary of each split, if the dataset can be loaded.
        data: The dataset, if it can be loaded.
    """

    images: int
    findings: tuple[Finding, ...]
    values: tuple[Values, ...] = ()
    range: Range | None = None
    splits: tuple[SplitReport, ...] = ()
    data: ClassificationData | SegmentationData | None = None

    @property
    def bad(self) -> int:
        """Number of findings that stop training or evaluation."""
        return sum(finding.bad for finding in self.findings)


def check_dataset(
    config: DataConfig, *, workers: int = 0, progress: Callable[[int, int], None] | None = None
) -> DataReport:
    """Load every image and label of every split, as training and evaluation do.

    Args:
        config: Dataset and its location.
        workers: Worker processes; 0 loads in the calling process.
        progress: Called with (images read, total images) after each image.

    Returns:
        All problems. If none is bad, training and evaluation can load every image.
    """
    found = check_folders(config)
    findings, total, done = found.findings, sum(map(len, found.parts)), 0
    values, facts = found.values, dict[str, ImageFacts]()
    for part in found.parts:
        for checked in parallel_map(part.check, len(part), workers):
            findings += checked.findings
            if own := checked.facts:
                facts[checked.file] = own
                add_values(values, Values(own.kind, 1, own.low, own.high))
            done += 1
            if progress:
                progress(done, total)
    data = None
    if not any(finding.bad for finding in findings):  # loading finds, for example, too few images for the splits
        data = collect(config.root or config.name, lambda: load(replace(config, workers=workers)), findings)
    if data:
        collect(config.root or config.name, lambda: check_classes(data), findings)
    limits, splits = data.preprocessing.range if data else None, tuple[SplitReport, ...]()
    if data:
        placed = place_facts(data, facts)
        splits = summarize(data, placed)
        findings += find_leaks(placed)
    return DataReport(total + found.in_memory, tuple(findings), tuple(values.values()), limits, splits, data)
