"""What pytest leaves out: Triton's kernels, where triton is not installed (it comes with torch for GPUs only)."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("triton") else ["src/skipweave/ops/*_kernels.py"]
