"""What pytest leaves out: Triton's kernels, where triton is not installed (it comes with torch for GPUs only)."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["src/skipweave/ops/channel_sparse_kernels.py"]
