"""docs/tutorials and docs/notebooks: their commands and Python run, in order, on tiny datasets."""

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SLOW = ("first_study", "ship", "topology")
PAGES = [
    pytest.param(page, id=page.stem, marks=pytest.mark.slow if page.stem in SLOW else ())
    for page in sorted((DOCS / "tutorials").glob("*.md"))
    if page.stem != "index"
]
SHORTER = {
    r"--epochs \d+": "--epochs 1",
    r"--seeds [\d,]+": "--seeds 0 --processes 1 --timing_repeats 0 --time_engines false",
}
PREAMBLE = """
import shlex

import matplotlib

from skipweave_cli import main

matplotlib.use("agg")


def command(line):
    assert main(shlex.split(line, comments=True)[1:]) == 0, line

"""


def program(page: Path) -> str:
    """The Python blocks of a page as they are, and its commands, with one epoch, one seed and without timing."""
    parts = []
    for language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            parts.append(code)
        else:
            lines = code.replace("\\\n", " ")
            for given, short in SHORTER.items():
                lines = re.sub(given, short, lines)
            parts += [f"command({line!r})" for line in lines.splitlines()]
    return PREAMBLE + "\n".join(parts)


def cells(notebook: Path) -> str:
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return PREAMBLE + "\n\n".join("".join(cell["source"]) for cell in found if cell["cell_type"] == "code")


@pytest.fixture
def tiny_data(tmp_path, make_images, make_pairs, class_list):
    """The folders that the tutorials use."""
    make_images(tmp_path / "photos", {"heron": 16, "stork": 16})
    make_images(tmp_path, {"new_pictures": 2, "digits_to_read": 2})
    make_pairs(tmp_path / "streets", [f"{letter}" for letter in "abcdefghij"], (48, 40))
    class_list(tmp_path / "streets")
    make_images(tmp_path, {"new_streets": 2})
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_runs(run_command, tiny_data, page):
    script = tiny_data / f"{page.stem}.py"
    script.write_text(program(page), encoding="utf-8")
    ended = run_command([script])
    assert ended.status == 0, ended.texts[0]


@pytest.mark.slow  # `make docs` runs them, too
@pytest.mark.parametrize("notebook", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda notebook: notebook.stem)
def test_a_notebook_runs(run_command, tmp_path, notebook):
    script = tmp_path / f"{notebook.stem}.py"
    script.write_text(cells(notebook), encoding="utf-8")
    ended = run_command([script])
    assert ended.status == 0, ended.texts[0]
