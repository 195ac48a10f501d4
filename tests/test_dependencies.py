"""What is installed is pinned by hash, and no release that is known to be compromised is allowed."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.installed_packages import requirements

ROOT = Path(__file__).parents[1]
COMPROMISED = dict.fromkeys(("lightning-fabric", "lightning", "pytorch-lightning"), ("2.6.2", "2.6.3"))


def pinned() -> dict[str, str]:
    """Each package of constraints.txt with all that stands behind it."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    entries = re.split(r"\n(?=\S)", text.strip())
    return {re.split(r"[=<>~! ]", entry, maxsplit=1)[0]: entry for entry in entries}


def test_every_package_is_pinned_to_one_version_by_hash():
    packages = pinned()
    assert len(packages) > 50
    loose = [name for name, entry in packages.items() if not re.match(r"[\w.-]+==[\w.+!-]+( |$)", entry.split("\n")[0])]
    assert loose == []
    without = [name for name, entry in packages.items() if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)]
    assert without == []
    assert not any("://" in entry or entry.startswith("-") for entry in packages.values())


def test_dependencies_are_pinned():
    packages = {canonicalize_name(name) for name in pinned()}
    asked = {canonicalize_name(Requirement(text).name) for text in requirements("all", "dev")}
    assert asked - packages == set()


@pytest.mark.parametrize(("package", "versions"), COMPROMISED.items())
def test_compromised_releases_are_kept_out(package: str, versions: tuple[str, ...]):
    entry = pinned().get(package, "")
    assert not any(re.match(rf"{package}=={re.escape(version)}( |$)", entry) for version in versions)
    asked = [one.specifier for one in map(Requirement, requirements("all", "dev")) if one.name == package]
    assert [version for version in versions if any(specifier.contains(version) for specifier in asked)] == []


def test_make_installs_only_what_is_pinned_by_hash():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in makefile.splitlines() if "install " in line and "$(PIP)" in line]
    careful = (
        "--require-hashes -r constraints.txt",
        "--require-hashes -r docs/site/",
        "--no-deps --no-build-isolation",
    )
    assert len(installs) == len(careful)
    assert all(any(option in line for line in installs) for option in careful)
