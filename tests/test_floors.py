"""The floors of docs/architecture.md: a module imports only from floors below its own."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
FACE = "skipweave"  # the package's own __init__: it hands out names from many floors, so nothing inside imports it

# Bottom to top. Packages on one floor do not import one another.
FLOORS = (
    {"skipweave_config"},
    {"topology", "ledger", "files"},
    {"ops"},
    {"layers", "data", "tracing"},
    {"models", "transforms"},
    {"engines"},
    {"analysis"},
    {"plotting"},
    {"training"},
    {"inference"},
    {"study", "export"},
    {FACE},
    {"skipweave_cli"},
    {"__main__"},
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}


def room(module: str) -> str:
    """The part of a dotted module name that has a floor: "skipweave.data.splits" -> "data"."""
    package, _, rest = module.partition(".")
    return rest.split(".")[0] if package == FACE and rest else package


def modules(src: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(src.glob("skipweave*/**/*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(module: str, path: Path) -> Iterator[str]:
    """Every absolute module name that a file imports, wherever in the file the import stands."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            # `from skipweave import data` imports skipweave.data; `from skipweave import fit` imports the face.
            for alias in node.names:
                yield f"{base}.{alias.name}" if base == FACE and alias.name in FLOOR_OF else base


def violations(src: Path) -> list[str]:
    found = []
    for module, path in modules(src):
        here = room(module)
        if here not in FLOOR_OF:
            found.append(f"{module} is on no floor: add '{here}' to FLOORS, or move the module")
            continue
        for imported in imports(module, path):
            there = room(imported)
            if not imported.startswith(FACE) or there == here:
                continue
            if there not in FLOOR_OF:
                found.append(f"{module} imports {imported}, which is on no floor")
            elif FLOOR_OF[there] >= FLOOR_OF[here]:
                found.append(f"{module} (floor {FLOOR_OF[here]}) imports {imported} (floor {FLOOR_OF[there]})")
    return found


def test_every_module_imports_only_from_floors_below():
    assert violations(SRC) == []


def test_modules_are_found():
    assert {"skipweave", "skipweave.files", "skipweave.topology"} <= {module for module, _ in modules(SRC)}


def test_the_diagram_shows_these_floors():
    picture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^ ?(\d+)  (\w+) ", picture, re.MULTILINE)
    assert {room: int(floor) for floor, room in drawn} == {
        room: n for room, n in FLOOR_OF.items() if room not in (FACE, "__main__")
    }


@pytest.mark.parametrize("package", ["topology", "ledger", "skipweave_config"])
def test_plain_data_needs_no_torch(package):
    readers = [
        module for module, path in modules(SRC) if room(module) == package and "torch" in set(imports(module, path))
    ]
    assert readers == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        (
            "layers/read.py",
            "import skipweave.models.net",
            "skipweave.layers.read (floor 3) imports skipweave.models.net (floor 4)",
        ),
        (
            "layers/__init__.py",
            "from ..models import net",
            "skipweave.layers (floor 3) imports skipweave.models (floor 4)",
        ),
        ("layers/a/b.py", "import skipweave_cli", "skipweave.layers.a.b (floor 3) imports skipweave_cli (floor 12)"),
        (
            "topology/sums.py",
            "def f():\n    from skipweave import ledger",
            "skipweave.topology.sums (floor 1) imports skipweave.ledger (floor 1)",
        ),
        (
            "data/datasets.py",
            "from skipweave import fit",
            "skipweave.data.datasets (floor 3) imports skipweave (floor 11)",
        ),
        ("data/datasets.py", "import skipweave", "skipweave.data.datasets (floor 3) imports skipweave (floor 11)"),
        (
            "study/run.py",
            "from skipweave.helpers import x",
            "skipweave.study.run imports skipweave.helpers, which is on no floor",
        ),
        ("helpers.py", "", "skipweave.helpers is on no floor: add 'helpers' to FLOORS, or move the module"),
    ],
)
def test_the_check_catches(tmp_path, file, line, complaint):
    path = tmp_path / "skipweave" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert violations(tmp_path) == [complaint]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("study/train.py", "from skipweave.training import fit\nimport skipweave_config.errors"),
        ("layers/stage.py", "from .read import ConcatRead\nfrom skipweave import topology"),
        ("__init__.py", "from skipweave.models import create_model\nfrom . import study"),
        ("models.py", "import torch\nfrom collections import abc"),
    ],
)
def test_the_check_accepts(tmp_path, file, line):
    path = tmp_path / "skipweave" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line)
    assert violations(tmp_path) == []
