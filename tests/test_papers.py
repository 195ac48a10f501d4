"""docs/papers: one page per paper, whose commands parse and whose models build."""

import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import skipweave
from skipweave.ledger import PAPERS
from skipweave.transforms import build_compressed
from skipweave.transforms.compression.compression_overrides import check_compression
from skipweave_cli import COMMANDS, options
from skipweave_cli.parser import parse

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "papers").glob("*.md"))
PLACEHOLDERS = ("DIR", "FOLDER", "RUN")
NONE = "none"
MODEL = re.compile(r"`([a-z]\w*\d\w*)`")


class Line(NamedTuple):
    """A table row of a page: figure, table or claim; command; our figure, or why there is none."""

    paper: str
    printed: str
    command: str
    ours: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.command.strip("`"))


def lines(page: Path) -> list[Line]:
    rows = [line.strip("| ").split(" | ") for line in page.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return [Line(page.stem, *row) for row in rows[2:]]


LINES = [line for page in PAGES for line in lines(page)]
PARSED = [line for line in LINES if line.words[0] == "skipweave"]


def parsed(line: Line, folder: Path) -> Any:
    """Options of a command, with a folder in place of DIR, FOLDER and RUN."""
    _, command, *words = [str(folder) if word in PLACEHOLDERS else word for word in line.words]
    return parse(getattr(options, COMMANDS[command].options), words, prog=f"skipweave {command}")


def models(found: Any) -> list[tuple[str, dict[str, Any]]]:
    """Models that the options of a command name, with their arguments; those of a study are tested with the studies."""
    if isinstance(found, options.ShowOptions):
        return [(found.model, found.args)]
    if isinstance(found, options.FitOptions):
        return [(found.config.model.name, found.config.model.args)]
    return []


def test_every_paper_has_a_page():
    assert {page.stem.removesuffix("s") for page in PAGES} == PAPERS.keys() - {"hardnet"}  # delugenets.md; a baseline


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_line_has_a_command_and_a_figure_or_reason(page):
    assert len(lines(page)) >= 15
    for line in lines(page):
        assert line.printed
        assert line.command == NONE or re.fullmatch("`(skipweave|python -m benchmarks)[^`]+`", line.command), line
        assert line.ours, line
        assert line.ours != NONE, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_parse_and_models_build(page, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    named = [model for line in PARSED if line.paper == page.stem for model in models(parsed(line, tmp_path))]
    for name, args in {repr(model): model for model in named}.values():
        check_compression(args)
        with torch.device("meta"):  # which does not hold the indices of sparse layers
            build_compressed(partial(skipweave.create_model, name), {**args, "sparsify": None})


def test_models_are_registered():
    known = set(skipweave.list_models())
    assert [(page.stem, name) for page in PAGES for name in MODEL.findall(page.read_text()) if name not in known] == []


def test_benchmarks_exist_and_have_the_options():
    commands = [line.words[2:] for line in LINES if line.words[0] == "python"]
    assert commands
    for script, *words in commands:
        source = (ROOT / f"{script.replace('.', '/')}.py").read_text()
        assert [word for word in words if word.startswith("--") and f'"{word}"' not in source] == []
