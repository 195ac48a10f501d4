"""Without extras: models, layers, topologies, transforms and profiles; the rest reports which extra to install."""

import json
import os
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from skipweave_config.extras import EXTRAS
from tests.errors import assert_reports
from tests.installed_packages import PROJECT, ROOT, closure, link, requirements

#: Does what needs no extra, then what does, and prints the messages of the errors by what was done, as JSON.
PROGRAM = """
import importlib, json, torch, skipweave

model = skipweave.create_model("sparsenet40_24", topology=skipweave.topology.window(2, size=2), units=2)
assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
assert skipweave.profile(model).macs > 0
sparse = skipweave.sparsify(model, density=0.5, input_size=(3, 32, 32)).model
skipweave.optimize_for_inference(sparse, input_size=(3, 32, 32))
skipweave.create_model("sparsenet_fast_64.cifar10", pretrained=True)
assert len(skipweave.list_models()) > 100

messages = {}
for name in ("data", "training", "plotting.connections", "inference", "study", "export", "export_model"):
    try:
        skipweave.export_model(model, "new") if name == "export_model" else importlib.import_module(f"skipweave.{name}")
    except skipweave.SkipweaveError as error:
        messages[name] = str(error)
print(json.dumps(messages))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages that are required without extras, and the metadata of skipweave."""
    folder = tmp_path_factory.mktemp("packages")
    link([*closure(requirements()), distribution(PROJECT["name"])], folder)
    return folder


def run(packages: Path, program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program with these packages and the sources, and without Python's own site-packages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(packages)])}
    command = [sys.executable, "-S", "-c", program]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


def test_the_folder_has_no_packages_of_extras(packages: Path):
    present = {path.name for path in packages.iterdir()}
    assert {"torch", "torchvision", "timm", "safetensors", "numpy"} <= present
    assert {"pydantic", "rich", "lightning_fabric", "matplotlib", "onnx", "openvino", "ray"} & present == set()


def test_models_need_no_extra_and_the_rest_reports_which_to_install(packages: Path, tmp_path: Path):
    done = run(packages, PROGRAM, tmp_path)
    assert done.returncode == 0, done.stderr
    messages = json.loads(done.stdout)
    assert_reports(messages.pop("export_model"), "onnx", "onnxscript", "skipweave[export]")
    assert messages.keys() == {"data", "training", "plotting.connections", "inference", "study", "export"}
    for message in messages.values():
        assert_reports(message, "lightning_fabric", "pydantic", "skipweave[train]")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "status"), [(["--help"], 0), (["--version"], 0), (["models"], 2)])
def test_the_command_line_reports_the_extra_to_install(packages: Path, tmp_path: Path, words: list[str], status: int):
    done = run(packages, f"from skipweave_cli import main; raise SystemExit(main({words}))", tmp_path)
    assert done.returncode == status, done.stderr
    if status:
        assert_reports(done.stderr, "pydantic", "rich", "pip install 'skipweave[train]'")


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_modules_of_an_extra_are_those_of_its_packages(extra: str):
    asked = {canonicalize_name(Requirement(text).name) for text in PROJECT["optional-dependencies"][extra]}
    modules = packages_distributions()
    if lost := [name for name in EXTRAS[extra] if name not in modules]:
        pytest.skip(f"not installed: {lost}")
    exported = {"onnx", "onnxscript"} if extra == "openvino" else set()  # modules of the extra export
    assert {canonicalize_name(modules[name][0]) for name in EXTRAS[extra]} == asked - exported


def test_the_extra_all_has_every_extra_for_users():
    (text,) = PROJECT["optional-dependencies"]["all"]
    asked = Requirement(text)
    assert asked.name == PROJECT["name"]
    assert asked.extras == PROJECT["optional-dependencies"].keys() - {"all", "dev"}
