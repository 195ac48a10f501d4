"""Try an installed wheel: import it, run the Python blocks of pages, and look for the C library.

Run by `tests/test_wheel.py` and `.github/workflows/release.yml` with the Python of an environment with the wheel:

    python -I tests/installed_wheel.py [PAGE ...]
"""

import re
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path


def main() -> None:
    import skipweave
    from skipweave.ops.cpu.c_library import library

    installed = Path(skipweave.__file__)
    assert installed.is_relative_to(sysconfig.get_path("purelib")), f"{installed} is not the installed package"
    built = "Root-Is-Purelib: false" in distribution("skipweave").read_text("WHEEL")
    assert bool(library().problem) != built, library()
    for page in sys.argv[1:]:
        blocks = re.findall(r"^```python\n(.*?)^```$", Path(page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
        assert blocks, f"{page} has no Python"
        exec(compile("\n".join(blocks), page, "exec"), {"__name__": "__main__"})
    print(f"skipweave {skipweave.__version__}: {library().problem or library().instruction_set}")


if __name__ == "__main__":
    main()
