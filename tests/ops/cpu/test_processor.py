"""Properties of the processor."""

import pytest

from skipweave.ops.cpu import processor


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("flags\t\t: fpu avx512_bf16 avx512_vnni\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx512f avx2\nmodel name\t: with abf16\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_among_the_flags_of_linux(text: str, has: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processor, "_cpuinfo", lambda: text)
    assert processor.has_bfloat16() is has
