"""Builds the C library of the package, if there is a compiler.

Run by hatchling for wheels and editable installs; by hand, `python hatch_build.py` builds it in place. Without a
compiler the package installs all the same, and what the library does runs in its pure PyTorch forms.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, without hatchling
    BuildHookInterface = object  # type: ignore[assignment, misc]

SOURCES = Path(__file__).parent / "src" / "skipweave" / "ops" / "cpu" / "csrc"
LIBRARY = SOURCES / "library.so"
FLAGS = ["-O3", "-std=gnu11", "-fPIC", "-fvisibility=hidden"]
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
INSTRUCTION_SETS: dict[str, list[str]] = {
    "generic": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": AVX512,
    "avx512bf16": [*AVX512, "-mavx512bf16"],
}


def compiler() -> list[str] | None:
    """The C compiler's command: $CC, or the first of cc, gcc and clang; None where there is none."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return [found] if found else None


def fingerprint() -> str:
    """What the sources are, so that a library that was built from others is noticed when it is loaded."""
    sources = sorted(path for path in SOURCES.iterdir() if path.suffix in (".c", ".h"))
    return sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def compilations() -> list[tuple[str, list[str]]]:
    """Each source file with the flags of a compilation; the kernels once per instruction set and type of elements."""
    parts = [("library.c", [f'-DFINGERPRINT="{fingerprint()}"']), ("channel_sparse.c", []), ("reading.c", [])]
    for name, flags in INSTRUCTION_SETS.items():
        if name == "generic" or platform.machine() in ("x86_64", "AMD64"):
            flags = [*flags, f"-DINSTRUCTION_SET={name}", f'-DLANES_HEADER="lanes_{name.removesuffix("bf16")}.h"']
            parts.append(("kernels.c", flags))
            parts += [
                ("read_kernels.c", [*flags, f"-DELEMENTS={elements}", f'-DELEMENT_HEADER="{elements}.h"'])
                for elements in ("float32", "bfloat16")
            ]
    return parts


def platform_tag() -> str:
    """Platform of a wheel with the library, such as linux_x86_64 or macosx_11_0_arm64.

    On Linux without a version of glibc: which one the library needs is found out by auditwheel (docs/releasing.md). On
    macOS with the version for which compilers build: $MACOSX_DEPLOYMENT_TARGET, or that of this machine.
    """
    if sys.platform != "darwin":
        return re.sub(r"\W", "_", sysconfig.get_platform())
    from packaging.tags import mac_platforms

    version = os.environ.get("MACOSX_DEPLOYMENT_TARGET") or platform.mac_ver()[0]
    major, minor = map(int, f"{version}.0".split(".")[:2])
    return next(mac_platforms((major, minor), platform.machine()))


def build() -> str:
    """Build the library; return "" or, in words, why there is none."""
    command = compiler()
    if command is None:
        return "no C compiler was found (cc, gcc, clang or $CC)"
    if sys.platform == "win32":
        return "the C library is not built on Windows"
    with tempfile.TemporaryDirectory() as folder:
        parts = compilations()
        objects = [f"{folder}/{number}.o" for number in range(len(parts))]
        made = Path(folder) / LIBRARY.name
        try:
            for (source, flags), built in zip(parts, objects, strict=True):
                _run([*command, *FLAGS, *flags, "-c", str(SOURCES / source), "-o", built])
            _run([*command, *FLAGS, "-shared", "-o", str(made), *objects])
            shutil.copyfile(made, LIBRARY.with_suffix(".new"))
            LIBRARY.with_suffix(".new").replace(LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"the C compiler failed: {getattr(error, 'stderr', None) or error}"
    return ""


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


class NativeBuildHook(BuildHookInterface):
    """Adds the library to a wheel, and the platform to its name."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and tell hatchling what was built."""
        LIBRARY.unlink(missing_ok=True)
        if problem := build():
            self.app.display_warning(f"skipweave goes without its C library: {problem}")
            return
        build_data["artifacts"].append(f"/{LIBRARY.relative_to(Path(self.root)).as_posix()}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"


if __name__ == "__main__":
    raise SystemExit(build() or None)
