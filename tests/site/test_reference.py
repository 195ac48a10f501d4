"""docs/api: every public name is on a page, and has a docstring."""

import inspect
import re
import runpy
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SITE = runpy.run_path(str(DOCS / "site" / "public_names.py"))
BLOCK = re.compile(r"^```\{reference\} ([\w.]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def documented() -> dict[str, str]:
    """Full names on the pages, with the descriptions of data."""
    found = {}
    for page in (DOCS / "api").glob("*.md"):
        for package, lines in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in lines.splitlines():
                name, _, text = line.partition(":")
                assert f"{package}.{name}" not in found
                found[f"{package}.{name}"] = text.strip()
    return found


def test_every_public_name_is_on_one_page():
    pages, aliases = documented(), SITE["aliases"]()
    listed = {f"{package}.{name}": aliases[f"{package}.{name}"] for package, name in SITE["public_names"]()}
    assert len(listed) > 200
    assert {name for name, names in listed.items() if len(pages.keys() & set(names)) != 1} == set()
    assert pages.keys() <= listed.keys()


def test_every_package_has_a_page():
    assert set(SITE["PACKAGES"]) >= {"skipweave", "skipweave.topology", "skipweave.layers", "skipweave.training"}
    assert {package.removeprefix("skipweave.") for package in SITE["PACKAGES"]} | {"index"} == {
        page.stem for page in (DOCS / "api").glob("*.md")
    }


@pytest.mark.parametrize("name", documented())
def test_a_public_name_is_described(name):
    package, _, attribute = name.rpartition(".")
    found = getattr(import_module(package), attribute)
    if inspect.isclass(found) or inspect.isfunction(found):
        text = vars(found)["__doc__"] if inspect.isclass(found) else found.__doc__  # not inherited
        assert text.strip()
        assert not text.startswith(f"{attribute}(")  # the signature, as dataclasses have it
        assert documented()[name] == ""
    else:
        assert documented()[name]
