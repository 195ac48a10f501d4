"""Fuzz test of the C library in a folder against the definitions, over shapes of convolutions and nodes.

    python -m tests.ops.fuzz FOLDER EXAMPLES

The folder holds the library and the sources that it was built from, as `c_library.FOLDER` does. Prints a line
per instruction set. `test_sanitizers.py` runs it on a library built with sanitizers.
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
    """An operation on nodes, its operands, whether each needs its gradient, and the number of threads."""
    name, order = draw(st.sampled_from(sorted(NODES))), ORDERS[draw(st.sampled_from(sorted(ORDERS)))]
    batch, *size = draw(st.tuples(st.integers(0, 3), st.integers(0, 70), st.integers(0, 70)))
    widths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    if name == "cross":
        widths = widths[:1] * len(widths)
    parameters = (len(widths), widths[0]) if name == "cross" else (sum(widths),)
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
    maps = [torch.randn(batch, width, *size).to(dtype, memory_format=order) for width in widths]
    operands = [torch.randn(parameters), torch.randn(parameters[-1]), *maps]
    needs_grad = draw(st.lists(st.booleans(), min_size=len(operands), max_size=len(operands)).filter(any))
    return name, operands, needs_grad, draw(st.integers(1, 3))


def assert_nodes_exact(name: str, operands: list[Tensor], needs_grad: list[bool]) -> None:
    """Compare values and gradients with the definition in float64."""
    dtype = operands[2].dtype
    upstream = torch.rand(len(operands[2]), len(operands[1]), *operands[2].shape[2:]).to(dtype)
    results = []
    for function, exact in zip(NODES[name], (True, False), strict=True):
        given = [tensor.double() if exact else tensor.detach() for tensor in operands]
        given = [tensor.requires_grad_(needed) for tensor, needed in zip(given, needs_grad, strict=True)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = function(given[2:], *given[:2])
        gradients = torch.autograd.grad(out, [x for x in given if x.requires_grad], upstream.to(out.dtype))
        results.append([out, *gradients])
    for expected, ours in zip(*results, strict=True):
        rtol = 2**-8 if ours.dtype == torch.bfloat16 else 1e-4
        torch.testing.assert_close(ours.double(), expected, rtol=rtol, atol=1e-3)


def fuzz(examples: int) -> None:
    """Compare this number of convolutions, and a third as many reads."""
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
    for name in ("avx512bf16", "avx512", "avx2", "generic"):
        if c_library.use_instruction_set(name):
            fuzz(int(examples))
            print(f"{name}: {examples} shapes", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
