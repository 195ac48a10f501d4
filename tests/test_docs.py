"""What README.md and docs/ show works: their Python runs, their commands and options exist."""

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from skipweave import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^```\w*\n.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def python_of(page: Path) -> str:
    """All Python blocks of a page as one program, each line where it stands in the page."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in PYTHON.finditer(text):
        first = text.count("\n", 0, block.start(1))
        code = block[1].splitlines()
        lines[first : first + len(code)] = code
    return "\n".join(lines)


def commands(program: str) -> list[tuple[str, str, str]]:
    """Page, command and the rest of the line for every `program command ...` in code other than Python."""
    line = re.compile(rf"(?:^|[\s`(/]){program} ([a-z][\w-]*)([^\n#`|]*)")
    return [
        (name(page), *found)
        for page in PAGES
        for code in CODE.findall(PYTHON.sub("", page.read_text(encoding="utf-8")))
        for found in line.findall(code.replace("\\\n", " "))
    ]


def options_on_pages() -> dict[str, list[str]]:
    """The options that the pages give to each command; what follows `args.` is the network's affair."""
    found: dict[str, list[str]] = {}
    for _, command, rest in commands("skipweave"):
        found.setdefault(command, []).extend(re.findall(r"--(?:[\w.]*\bargs\b|[\w.]+)", rest))
    return {command: sorted(set(options)) for command, options in found.items() if options}


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page).strip()], ids=name)
def test_the_python_of_a_page_runs(nursery, page, tmp_path):
    """The first page's from the very start, the others' where everything has been imported."""
    script = tmp_path / page.with_suffix(".py").name
    script.write_text(python_of(page), encoding="utf-8")
    if page == PAGES[0]:
        run = subprocess.run([sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True)
        status, said = run.returncode, run.stderr
    else:
        ended = nursery([script])
        status, said = ended.status, ended.texts[0]
    assert status == 0, f"{name(page)} (line numbers are the page's)\n{said}"


def test_the_commands_on_the_pages_exist():
    strangers = [(page, command) for page, command, _ in commands("skipweave") if command not in cli.COMMANDS]
    assert strangers == []


@pytest.mark.parametrize(("command", "options"), options_on_pages().items())
def test_the_options_on_the_pages_exist(command, options, capsys):
    assert cli.main([command, "--help"]) == 0
    known = set(re.findall(r"--[\w.]+", capsys.readouterr().out))
    assert set(options) - known == set()


def test_what_the_pages_make_exists():
    targets = set(re.findall(r"^([a-z.-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {command for _, command, _ in commands("make")} - targets == set()


def test_the_two_commands_of_the_readme_are_found():
    assert {command for page, command, _ in commands("make") if page == "README.md"} >= {"demo", "test"}


def test_every_dependency_has_its_line_and_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    packages = [re.match(r"[\w-]+", requirement)[0].lower() for requirement in asked]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w, -]+) \|", page, re.MULTILINE)
    explained = [package.lower() for row in rows for package in row.split(", ") if row != "package"]
    assert sorted(explained) == sorted(packages)
