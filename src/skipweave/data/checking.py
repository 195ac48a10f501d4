"""Read a data set through before training, and tell everything that is wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass

from skipweave.data.config import DataConfig
from skipweave.data.findings import Finding, told
from skipweave.data.parallel import each
from skipweave.data.sets import load
from skipweave.data.surveys import survey


@dataclass(frozen=True)
class DataReport:
    """What a check found.

    Attributes:
        images: how many were read, label images not counted.
        findings: what is wrong with folders, then with files.
    """

    images: int
    findings: tuple[Finding, ...]

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
    for part in found.parts:
        for told_of_one in each(part.check, len(part), workers):
            findings += told_of_one
            done += 1
            if progress:
                progress(done, total)
    if not any(finding.bad for finding in findings):
        told(config.root or config.name, lambda: load(config), findings)  # such as too few images for the splits
    return DataReport(total + found.in_memory, tuple(findings))
