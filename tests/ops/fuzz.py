"""Draw shapes of convolutions and of nodes, and compare the C library in a folder with the definitions.

    python -m tests.ops.fuzz FOLDER EXAMPLES

The folder holds the library and the sources that it was built from, as `c_library.FOLDER` does. Prints a line for
each instruction set. `test_sanitizers.py` runs it on a library that reports what it does to memory that is not its own.
"""

import sys
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from skipweave.ops import concat_read, concat_read_low_memory, cross_layer, cross_layer_fast
from skipweave.ops.cpu import c_library
from tests.ops.shapes import assert_exact, cases

ORDERS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
NODES = {"read": (concat_read, concat_read_low_memory), "cross": (cross_layer, cross_layer_fast)}


@st.composite
def nodes(draw: st.DrawFn) -> tuple[str, list[Tensor], list[bool], int]:
    """An operation on nodes, its operands, which of them want gradients, and threads."""
    name, order = draw(st.sampled_from(sorted(NODES))), ORDERS[draw(st.sampled_from(sorted(ORDERS)))]
    batch, *size = draw(st.tuples(st.integers(0, 3), st.integers(0, 70), st.integers(0, 70)))
    widths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    if name == "cross":
        widths = widths[:1] * len(widths)
    parameters = (len(widths), widths[0]) if name == "cross" else (sum(widths),)
    maps = [torch.randn(batch, width, *size).to(memory_format=order) for width in widths]
    operands = [torch.randn(parameters), torch.randn(parameters[-1]), *maps]
    wanted = draw(st.lists(st.booleans(), min_size=len(operands), max_size=len(operands)).filter(any))
    return name, operands, wanted, draw(st.integers(1, 3))


def assert_nodes_exact(name: str, operands: list[Tensor], wanted: list[bool]) -> None:
    """Compare values and gradients with the definition in float64."""
    results, upstream = [], None
    for form, dtype in zip(NODES[name], (torch.float64, torch.float32), strict=True):
        given = [tensor.to(dtype).requires_grad_(want) for tensor, want in zip(operands, wanted, strict=True)]
        out = form(given[2:], *given[:2])
        upstream = torch.rand_like(out) if upstream is None else upstream.to(dtype)
        results.append([out, *torch.autograd.grad(out, [x for x in given if x.requires_grad], upstream)])
    for exact, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-3)


def fuzz(examples: int) -> None:
    """Compare as many convolutions, and a third as many reads of nodes."""
    same = dict(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    phases = (Phase.explicit, Phase.generate)  # shrinking would take long where every example is slow

    @settings(max_examples=examples, phases=phases, **same)
    @given(cases())
    def convolutions(case) -> None:
        assert_exact(case)

    @settings(max_examples=max(1, examples // 3), phases=phases, **same)
    @given(nodes())
    def reads(drawn) -> None:
        *operation, threads = drawn
        torch.set_num_threads(threads)
        assert_nodes_exact(*operation)

    convolutions()
    reads()


def main(folder: str, examples: str) -> None:
    c_library.FOLDER = Path(folder)
    assert not c_library.library().problem, c_library.library()
    for name in ("avx512", "avx2", "generic"):
        if c_library.use_instruction_set(name):
            fuzz(int(examples))
            print(f"{name}: {examples} shapes", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
