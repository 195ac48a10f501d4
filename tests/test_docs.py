"""README.md and docs/: Python blocks run; commands, options, files and links exist."""

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import torch

import skipweave
import skipweave_cli as cli
from skipweave import Topology, topology
from skipweave.analysis.profile import topologies_of
from skipweave_config.errors import SkipweaveError
from tests.installed_packages import requirements

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IN_ORDER = ROOT / "docs" / "tutorials"  # run with their commands by tests/site/test_tutorials.py
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^```\w*\n.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def python_of(page: Path) -> str:
    """All Python blocks of a page as one program, with the line numbers of the page."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in PYTHON.finditer(text):
        first = text.count("\n", 0, block.start(1))
        code = block[1].splitlines()
        lines[first : first + len(code)] = code
    return "\n".join(lines)


def commands(program: str) -> list[tuple[str, str, str]]:
    """Page, command and the rest of the line for every `program command ...` in code other than Python."""
    line = re.compile(rf"(?:^|[\s`(/]){program} ((?:study (?:plan|run|status)|[a-z][\w-]*))([^\n#`|]*)")
    return [
        (name(page), *found)
        for page in PAGES
        for code in CODE.findall(PYTHON.sub("", page.read_text(encoding="utf-8")))
        for found in line.findall(code.replace("\\\n", " "))
    ]


def options_on_pages() -> dict[str, list[str]]:
    """Options of each command on the pages, without the parts after `args.`."""
    found: dict[str, list[str]] = {}
    for _, command, rest in commands("skipweave"):
        found.setdefault(command, []).extend(re.findall(r"--(?:[\w.]*\bargs\b|[\w.]+)", rest))
    return {command: sorted(set(options)) for command, options in found.items() if options}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if python_of(page).strip() and page.parent != IN_ORDER], ids=name
)
def test_the_python_of_a_page_runs(run_command, page, tmp_path):
    """The first page runs in a new interpreter, the others in one with everything imported."""
    script = tmp_path / page.with_suffix(".py").name
    script.write_text(python_of(page), encoding="utf-8")
    if page == PAGES[0]:
        run = subprocess.run([sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True)
        status, output = run.returncode, run.stderr
    else:
        ended = run_command([script])
        status, output = ended.status, ended.texts[0]
    assert status == 0, f"{name(page)} (line numbers of the page)\n{output}"


def test_the_commands_on_the_pages_exist():
    unknown = [(page, command) for page, command, _ in commands("skipweave") if command not in cli.COMMANDS]
    assert unknown == []


def test_the_files_on_the_pages_exist():
    file = re.compile(r"\b(?:tests|recipes|studies|benchmarks|src)/[\w./-]+\.(?:py|yaml|csv)\b")
    missing = [
        (name(page), found)
        for page in PAGES
        for code in CODE.findall(page.read_text(encoding="utf-8"))
        for found in file.findall(code)
        if not (ROOT / found).exists()
    ]
    assert missing == []


def test_the_links_on_the_pages_lead_to_files():
    missing = [
        (name(page), target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)", CODE.sub("", page.read_text(encoding="utf-8")))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert missing == []


@pytest.mark.parametrize(("command", "options"), options_on_pages().items())
def test_the_options_on_the_pages_exist(command, options, capsys):
    assert cli.main([*command.split(), "--help"]) == 0
    known = set(re.findall(r"--[\w.]+", capsys.readouterr().out))
    assert set(options) - known == set()


def test_the_make_targets_on_the_pages_exist():
    targets = set(re.findall(r"^([a-z.-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {command for _, command, _ in commands("make")} - targets == set()


def test_the_two_commands_of_the_readme_are_found():
    assert {command for page, command, _ in commands("make") if page == "README.md"} >= {"demo", "test"}


def test_the_page_of_commands_has_all():
    assert {command for page, command, _ in commands("skipweave") if page == "docs/commands.md"} == set(cli.COMMANDS)


def test_every_dependency_has_one_row():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    texts = [*requirements("all", "dev"), *chain(*groups.values())]
    packages = [re.match(r"[\w-]+", text)[0].lower() for text in texts]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w, -]+) \|", page, re.MULTILINE)
    documented = [package.lower() for row in rows for package in row.split(", ") if row != "package"]
    assert sorted(documented) == sorted(set(packages))


def families() -> list[tuple[str, list[str], str]]:
    """Rows of the table of families: description, names and accepted topologies."""
    text = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    table = text[text.index("| names | what they are | topology |") :].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return [(row[1], re.findall("`([^`]+)`", row[0]), row[2]) for row in rows]


def small(model: str, **overrides: object) -> torch.nn.Module:
    with torch.device("meta"):
        return skipweave.create_model(model, **overrides)


def graphs(model: torch.nn.Module) -> tuple[Topology, ...]:
    """The topologies of the stages of a network, or of the blocks of an FC-DenseNet."""
    return topologies_of(model) or tuple(block.topology for block in model.blocks)


@pytest.mark.parametrize(("names", "accepted"), [row[1:] for row in families()], ids=[row[0] for row in families()])
def test_models_accept_the_topologies_of_the_table(names, accepted):
    assert accepted in ("any", "any but `fractal`", "its own")
    own = Topology.from_lists([[0], [0, 1], [2], [3, 1, 0]])
    for model in names:
        if accepted == "its own":
            with pytest.raises(SkipweaveError, match=rf"{model}.*topology"):
                small(model, topology="dense")
            continue
        stages = [graph.units for graph in graphs(small(model, topology="plain"))]
        excluded = {"fractal"} if "fractal" in accepted else set()
        for pattern in (
            *sorted({*topology.names(), "window(size=3)"} - excluded),
            *([own] if set(stages) == {3} else []),
        ):
            assert graphs(small(model, topology=pattern)), pattern
        whole = [topology.make("harmonic", units).reads for units in stages]
        given = whole[0] if len(whole) == 1 else [*whole]
        built = [graph.reads[:-1] for graph in graphs(small(model, topology=given))]
        assert built == [reads[:-1] for reads in whole]  # the readers of whole stages may differ


@pytest.mark.slow
def test_the_table_names_every_family():
    named = {type(small(model)) for _, names, _ in families() for model in names}
    assert {type(small(model)) for model in skipweave.list_models()} <= named
