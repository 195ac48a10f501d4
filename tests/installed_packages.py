"""Folders with some of the packages that are installed here: what an environment of only these would import."""

import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(*extras: str) -> list[str]:
    """What skipweave requires by its pyproject.toml, with these extras; of an extra that names others, those too."""
    found = list(PROJECT["dependencies"])
    for extra in extras:
        for text in PROJECT["optional-dependencies"][extra]:
            requirement = Requirement(text)
            found += requirements(*requirement.extras) if requirement.name == PROJECT["name"] else [text]
    return found


def closure(asked: Iterable[str]) -> list[Distribution]:
    """The installed distributions that satisfy requirements, with those that they require here."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in asked]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found.setdefault(name, distribution(name))
        for extra in {"", *requirement.extras} - {extra for one, extra in seen if one == name}:
            seen.add((name, extra))
            further = map(Requirement, found[name].requires or ())
            waiting += [one for one in further if one.marker is None or one.marker.evaluate({"extra": extra})]
    return list(found.values())


def link(distributions: Iterable[Distribution], folder: Path) -> None:
    """Make a folder a site-packages with only these distributions, as links to what is installed."""
    for one in distributions:
        tops = {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}
        for place in (Path(str(one.locate_file(top))) for top in tops):
            if not (folder / place.name).exists():
                (folder / place.name).symlink_to(place)
