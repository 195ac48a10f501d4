"""Read a data set through before training, and tell everything that is wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from skipweave.data.datasets import check_classes, load
from skipweave.data.normalization import Range
from skipweave.data.parallel_map import each
from skipweave.data.validation.findings import Finding, Values, add_values, told
from skipweave.data.validation.surveys import survey
from skipweave_config.data_config import DataConfig


@dataclass(frozen=True)
class DataReport:
    """What a check found.

    Attributes:
        images: how many were read, label images not counted.
        findings: what is wrong with folders, then with files.
        values: of the images, by kind.
        range: the values that become 0 and 1, if the images have more than 8 bits a channel and can be trained on.
    """

    images: int
    findings: tuple[Finding, ...]
    values: tuple[Values, ...] = ()
    range: Range | None = None

    @property
    def bad(self) -> int:
        """Findings at which training or evaluation would stop."""
        return sum(finding.bad for finding in self.findings)


def check(config: DataConfig, *, workers: int = 0, progress: Callable[[int, int], None] | None = None) -> DataReport:
    """Read every image of every split, and its labels, as training and evaluation do.

    Args:
        config: which set, from where.
        workers: processes that read; 0 reads in this one.
        progress: told (images read, images in all) after each.

    Returns:
        All that is wrong. If nothing is bad, training and evaluation can read every image.
    """
    found = survey(config)
    findings, total, done = found.findings, sum(map(len, found.parts)), 0
    values = found.values
    for part in found.parts:
        for checked in each(part.check, len(part), workers):
            findings += checked.findings
            if checked.values:
                add_values(values, checked.values)
            done += 1
            if progress:
                progress(done, total)
    data = None
    if not any(finding.bad for finding in findings):  # such as too few images for the splits
        data = told(config.root or config.name, lambda: load(replace(config, workers=workers)), findings)
    if data:
        told(config.root or config.name, lambda: check_classes(data), findings)
    limits = data.preprocessing.range if data else None
    return DataReport(total + found.in_memory, tuple(findings), tuple(values.values()), limits)
