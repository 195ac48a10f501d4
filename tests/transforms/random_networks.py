"""Random small networks of convolutions, norms, activations, branches, sums, views and shared modules."""

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.transforms.transforms import shaken

SIZE = (3, 8, 8)
Pair = namedtuple("Pair", ["first", "second"])


@dataclasses.dataclass
class Record:
    first: Any
    second: Any


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "in place": lambda x: F.relu(x, inplace=True),
    "relu6": F.relu6,
    "hardtanh": F.hardtanh,
    "hardswish": F.hardswish,
    "negative": lambda x: F.relu(-x),
    "gelu": F.gelu,
}
HOLDERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "dict": lambda outputs: {str(number): output for number, output in enumerate(outputs)},
    "namedtuple": lambda outputs: Pair(outputs[0], outputs[1:]),
    "dataclass": lambda outputs: Record(outputs[0], outputs[1:]),
    "first": lambda outputs: outputs[0],
}


class RandomNet(nn.Module):
    """Runs a program: each step makes one more map out of those before it, all of one size of image.

    Args:
        steps: Each step's kind, two numbers that choose what it reads, and one that chooses its width or way.
        heads: What becomes of chosen maps: the kind of head and a number that chooses the map.
        holder: What holds the outputs.
    """

    def __init__(self, steps: list[tuple[str, int, int, int]], heads: list[tuple[str, int]], holder: str) -> None:
        super().__init__()
        self.steps, self.holder = steps, holder
        self.parts = nn.ModuleDict()
        self.widths = [SIZE[0]]
        for number, step in enumerate(steps):
            self.widths.append(self._prepare(str(number), step))
        self.heads = [(kind, place % len(self.widths)) for kind, place in heads]
        for number, (kind, place) in enumerate(self.heads):
            width = self.widths[place]
            if kind in ("mean", "fixed mean"):
                self.parts[f"head{number}"] = nn.Linear(width, 5)
            elif kind != "map":
                self.parts[f"head{number}"] = nn.Linear(width * 4, 5)

    def _prepare(self, name: str, step: tuple[str, int, int, int]) -> int:
        """Make the modules of a step; return the width of its map."""
        kind, first, second, way = step
        width, other = self.widths[first % len(self.widths)], self.widths[second % len(self.widths)]
        made = [4, 8, 12, 16][way % 4]
        if kind in ("conv", "functional conv"):
            self.parts[name] = nn.Conv2d(width, made, 3, padding=1, bias=way % 3 == 0)
        elif kind == "conv norm":
            conv = nn.Conv2d(width, made, 3, padding=1, bias=way % 3 == 0)
            self.parts[name] = nn.Sequential(conv, nn.BatchNorm2d(made), nn.ReLU(inplace=way % 2 == 0))
        elif kind == "pointwise":
            self.parts[name] = nn.Conv2d(width, made, 1, bias=False)
        elif kind == "depthwise":
            self.parts[name], made = nn.Conv2d(width, width, 3, padding=1, groups=width), width
        elif kind == "grouped":
            self.parts[name] = nn.Conv2d(width, made, 1, groups=2 if width % 2 == 0 else 1)
        elif kind == "norm":
            self.parts[name], made = nn.BatchNorm2d(width), width
        elif kind == "group norm":
            self.parts[name], made = nn.GroupNorm(1, width), width
        elif kind == "again":
            before = [part for part in self.parts.values() if isinstance(part, nn.Conv2d) and part.in_channels == width]
            self.parts[name] = before[way % len(before)] if before else nn.Conv2d(width, made, 1)
            made = self.parts[name].out_channels
        elif kind == "cat":
            made = width + other
        elif kind == "slice":
            made = max(1, width // 2)
        else:
            made = width
        return made

    def forward(self, x: Tensor) -> Any:
        maps = [x]
        for number, (kind, first, second, way) in enumerate(self.steps):
            maps.append(self._run(str(number), kind, maps[first % len(maps)], maps[second % len(maps)], way))
        outputs = [self._head(number, kind, maps[place]) for number, (kind, place) in enumerate(self.heads)]
        return HOLDERS[self.holder](outputs)

    def _run(self, name: str, kind: str, x: Tensor, other: Tensor, way: int) -> Tensor:
        if kind == "functional conv":
            return F.conv2d(x, self.parts[name].weight, self.parts[name].bias, padding=1)
        if name in self.parts:
            return self.parts[name](x)
        if kind == "activation":
            return list(ACTIVATIONS.values())[way % len(ACTIVATIONS)](x + 0 if way % 2 else x)
        if kind == "add":
            return x + other if x.shape == other.shape else x
        if kind == "cat":
            return torch.cat([x, other], dim=1)
        if kind == "slice":
            return x[:, : max(1, x.shape[1] // 2)]
        if kind == "gate":
            return x * x.mean((2, 3), keepdim=True).sigmoid()
        if kind == "pool":
            return F.avg_pool2d(x, 3, 1, 1) if way % 2 else F.max_pool2d(x, 3, 1, 1)
        if kind == "shuffle":
            groups = 2 if x.shape[1] % 2 == 0 else 1
            return x.view(len(x), groups, -1, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        if kind == "fixed view":
            width = self.widths[int(name) + 1]
            return x.reshape(-1, width, *x.shape[2:])
        if kind == "keep":
            self.kept = x
        return x.detach() if kind == "detach" else x

    def _head(self, number: int, kind: str, x: Tensor) -> Tensor:
        if kind == "map":
            return x
        head = self.parts[f"head{number}"]
        if kind in ("mean", "fixed mean"):
            x = x.mean((2, 3))
            return head(x if kind == "mean" else x.view(-1, self.widths[self.heads[number][1]]))
        x = F.adaptive_avg_pool2d(x, 2)
        fixed = 4 * self.widths[self.heads[number][1]]
        return head(x.flatten(1) if kind == "flatten" else x.view(-1, fixed) if kind == "fixed" else x.view(len(x), -1))


KINDS = (
    *["conv", "conv norm"] * 4,
    *["pointwise", "norm", "activation", "add", "cat"] * 2,
    "depthwise",
    "grouped",
    "group norm",
    "again",
    "functional conv",
    "slice",
    "gate",
    "pool",
    "shuffle",
    "fixed view",
    "keep",
    "detach",
)
_NUMBER = st.integers(0, 59)
_RECENT = st.sampled_from([-1, -1, -1, -2, -3, 0])  # counted from the newest


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    """Networks in float64 whose batch norms fold to something."""
    step = st.tuples(st.sampled_from(KINDS), _RECENT, _RECENT, _NUMBER)
    steps = [("conv norm", 0, 0, draw(_NUMBER)), *draw(st.lists(step, min_size=3, max_size=9))]
    places = [(kind, len(s) + back, len(s) + other, way) for s, (kind, back, other, way) in _numbered(steps)]
    head = st.tuples(st.sampled_from(["mean", "flatten", "view", "fixed", "fixed mean", "map"]), _RECENT)
    heads = [(kind, len(steps) + 1 + back) for kind, back in draw(st.lists(head, min_size=1, max_size=3))]
    torch.manual_seed(draw(st.integers(0, 3)))
    model = RandomNet(places, heads, draw(st.sampled_from(list(HOLDERS))))
    return shaken(model).double().train(draw(st.booleans()))


def _numbered(steps: list[Any]) -> list[tuple[range, Any]]:
    return [(range(number + 1), step) for number, step in enumerate(steps)]
