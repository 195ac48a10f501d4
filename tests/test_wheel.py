"""The wheel, built from the source distribution without network, in new environments without and with extras."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.installed_packages import PROJECT, ROOT, closure, link, requirements

pytestmark = pytest.mark.slow

HAS_COMPILER = any(map(shutil.which, ("cc", "gcc", "clang")))
PAGES = (ROOT / "README.md", ROOT / "docs" / "commands.md")
STEM = f"{PROJECT['name']}-{PROJECT['version']}"


def call(*command: object, cwd: Path, **environment: str) -> str:
    environment = {**os.environ, "PYTHONPATH": "", **environment}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    call(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "-d", folder, cwd=ROOT)
    with tarfile.open(folder / f"{STEM}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / STEM


@pytest.fixture(scope="module", params=["a compiler", "no compiler"])
def wheel(request: pytest.FixtureRequest, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "a compiler" and not HAS_COMPILER:
        pytest.skip("there is no compiler")
    environment = {} if request.param == "a compiler" else {"CC": "false"}
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", folder, cwd=sdist, **environment)
    (made,) = folder.iterdir()
    assert made.name.startswith(f"{STEM}-py3-none-{'any' if environment else 'linux_'}")
    return made


def environment_with(wheel: Path, folder: Path, *extras: str) -> Path:
    """A new environment with the wheel and the packages that it requires; the path of its Python."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    link(closure(requirements(*extras)), packages)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    call(*pip, "install", "--no-index", "--no-deps", wheel, cwd=folder)
    call(*pip, "check", cwd=folder)
    return python


def tracked(*folders: str) -> set[str]:
    return set(
        subprocess.check_output(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders], cwd=ROOT, text=True
        ).splitlines()
    )


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_the_source_distribution_has_what_is_tracked(sdist: Path):
    found = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()}
    assert {"PKG-INFO", "README.md", "LICENSE", "CITATION.cff", "pyproject.toml", "hatch_build.py"} <= found
    assert tracked("src", "tests", "docs", "recipes", "studies", "benchmarks") <= found
    assert [name for name in found if name.endswith((".so", ".pyc"))] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_the_wheel_has_the_packages_and_the_library(wheel: Path):
    found = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith(f"{STEM}.dist-info/")}
    built = set() if wheel.name.endswith("any.whl") else {"skipweave/ops/cpu/csrc/library.so"}
    assert found == {name.removeprefix("src/") for name in tracked("src")} | built


def test_the_readme_runs_without_extras(wheel: Path, tmp_path: Path):
    python = environment_with(wheel, tmp_path / "venv")
    output = call(python, "-I", ROOT / "tests" / "installed_wheel.py", *PAGES, cwd=tmp_path)
    assert f"skipweave {PROJECT['version']}" in output


def test_networks_are_trained_and_exported_with_all_extras(wheel: Path, tmp_path: Path):
    command = environment_with(wheel, tmp_path / "venv", "all").parent / "skipweave"
    call(command, "fit", "--epochs", "1", "--output", "runs", cwd=tmp_path)
    (run,) = (path.parent for path in tmp_path.glob("runs/**/model.safetensors"))
    call(command, "export", run, "--output", "shipped", "--formats", "onnx,openvino,timm", cwd=tmp_path)
    assert {"model.onnx", "model.xml", "config.json"} <= {path.name for path in (tmp_path / "shipped").iterdir()}
