"""Shapes and output of the two benchmarks of channel-sparse convolutions."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """Convolution: side of its kernel, channels in and out, side of the feature map."""

    kernel: int
    in_channels: int
    out_channels: int
    side: int

    def __str__(self) -> str:
        return f"{self.kernel}x{self.kernel} {self.in_channels} to {self.out_channels} at {self.side}x{self.side}"


SHAPES = (
    *(Shape(3, width, width, side) for width, side in ((256, 14), (512, 7), (128, 28), (64, 56))),
    *(Shape(1, *rest) for rest in ((512, 128, 28), (1024, 256, 14), (64, 256, 56), (768, 192, 17), (512, 512, 7))),
)


def mean_ratios(rows: Iterable[Any], case: Callable[[Any], str]) -> Iterator[str]:
    """Geometric means of the `ratio` of all shapes of a kernel, one line per case; `subject` begins with the kernel."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        ratios[f"{row.subject.split()[0]}, {case(row)}"].append(row.ratio)
    for name, found in sorted(ratios.items()):
        mean = math.exp(sum(map(math.log, found)) / len(found))
        yield f"{name}: {mean:.2f} ({min(found):.2f} to {max(found):.2f}, {len(found)} shapes)"
