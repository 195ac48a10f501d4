"""Terms and American spelling of PyTorch and timm in prose: docs, docstrings, comments and string literals."""

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Files and folders to check, and exceptions.
CHECKED = (
    ".github",
    "CODE_OF_CONDUCT.md",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "Makefile",
    "benchmarks",
    "docs",
    "recipes",
    "src",
    "studies",
)
UNCHECKED = ("benchmarks/transforms.py",)

BRITISH = (
    r"(?:normal|optim|initial|minim|maxim|general|regular|serial|util|visual|parametr|organ|recogn|summar|quant)is(?:e|ing|ation)\w*",
    r"(?:col|fav|behavi|neighb)our\w*",
    r"cent(?:re|red|ring)s?|grey|metres?|licence|catalogue|analys(?:e|ed|ing)",
    r"(?:label|model|cancel|travel)l(?:ed|ing)",
    "whilst|artefacts?|judgement",
)

# What to write instead, by what not to write.
TERMS = {
    r"label[- ](?:maps?|images?)|label (?:every|each) pixel|label(?:s|ed)? pixels": "segmentation mask, segment",
    r"data sets?|sets? of images": "dataset",
    r"runs?(?:'s?)? folders?": "run directory",
    "settings?": "config, hyperparameter, option",
    r"errs?(?= )|erred": "error, accuracy",
    r"tells?|told|say[s]?|said": "reports, prints, returns",
    "refuse[sd]?": "raises",
    "gains?": "weight of a norm, improvement",
    "anew": "from scratch, again",
    r"trained on(?= for|[,.;:]|$)|train (?:it|them) on": "fine-tuned",
    r"hand(?:s|ed)? out|g[ia]ves? back|given back|let through|passed over": "returns, accepts, ignores",
    r"heads? on the way": "auxiliary head",
    r"who reads whom|reads whom": "connections, links",
    r"goes on|gone on|go on": "resumes, continues",
    "whoever|nobody|everybody": "name the subject",
    r"undisturbed|do(?:es|ne)? the harm|harm(?:s|ed)?": "uninterrupted, fault injection",
    "besides|dear|kin": "and, expensive, such as",
    r"in (?:our|own|plain) words|in words": "message",
    r"(?:images|steps) a second|(?:ms|bytes|macs|mib) an image|(?:a|one) a (?:stage|node|channel|class|line)": "per",
    r"in turns": "interleaved",
}

# File and word: the exact phrase in which it is accepted, such as ("docs/transforms_table.md", "gain").
EXEMPT: dict[tuple[str, str], str] = {
    ("docs/transforms_table.md", "gain"): "ScaledStdConv2d has parameters of unknown width (gain)",
}


def files() -> list[Path]:
    found = [ROOT / name for name in CHECKED]
    inner = [
        path
        for place in found
        if place.is_dir()
        for path in place.rglob("*")
        if path.suffix in (".py", ".md", ".yaml", ".yml") and "__pycache__" not in path.parts
    ]
    return sorted({*(place for place in found if place.is_file()), *inner} - {ROOT / name for name in UNCHECKED})


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers and lines of prose: whole text files; comments and strings of Python files."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        return
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in kinds:
                yield from enumerate(token.string.splitlines(), start=token.start[0])


def pattern(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-])(?:{words})(?![\w(-])", re.IGNORECASE)


PATTERNS = [*((pattern(words), "American spelling") for words in BRITISH), *((pattern(w), t) for w, t in TERMS.items())]


def violations(path: Path) -> list[str]:
    name = str(path.relative_to(ROOT))
    return [
        f"{name}:{number}: {match[0]!r} in {line.strip()!r}: write {instead}"
        for number, line in prose(path)
        for words, instead in PATTERNS
        for match in words.finditer(line)
        if not (phrase := EXEMPT.get((name, match[0]))) or phrase not in line
    ]


def test_prose_uses_the_terms_of_the_field():
    checked = files()
    assert len(checked) > len(CHECKED)
    assert [problem for path in checked for problem in violations(path)] == []


@pytest.mark.parametrize("name", CHECKED)
def test_the_checked_files_exist(name):
    assert (ROOT / name).exists()


def test_exemptions_are_needed():
    assert [name for (name, _), phrase in EXEMPT.items() if phrase not in (ROOT / name).read_text("utf-8")] == []


@pytest.mark.parametrize(
    "line",
    [
        "The colour of a label map",
        "it tells who reads whom",
        "an optimiser",
        "trained on for two epochs",
        "3 ms an image",
    ],
)
def test_offenders_are_found(line, tmp_path):
    assert any(words.search(line) for words, _ in PATTERNS)


@pytest.mark.parametrize("line", ["normalized", "precise noise", "the error of a mask", "skipweave.data", "again"])
def test_other_prose_passes(line):
    assert not any(words.search(line) for words, _ in PATTERNS)
