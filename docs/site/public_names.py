"""The public names that the API reference has to have, and the names under which each is known."""

import inspect
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import skipweave

#: Packages with pages of their own in docs/api: all that list public names.
PACKAGES = tuple(
    package
    for package in ("skipweave", *(f"skipweave.{module.name}" for module in iter_modules(skipweave.__path__)))
    if hasattr(import_module(package), "__all__")
)


def public_names() -> list[tuple[str, str]]:
    """Package and name of everything in `__all__` of the packages, without modules."""
    return [
        (package, name)
        for package in PACKAGES
        for name in import_module(package).__all__
        if not inspect.ismodule(getattr(import_module(package), name))
    ]


@cache
def aliases() -> dict[str, list[str]]:
    """The full public names of each name, among them those of the module that defines it.

    `skipweave.Topology` and `skipweave.topology.Topology` are one class, documented once.
    """
    found: dict[int, list[str]] = {}
    for package, name in public_names():
        one = getattr(import_module(package), name)
        names = found.setdefault(id(one), [f"{one.__module__}.{name}"] if hasattr(one, "__qualname__") else [])
        names.append(f"{package}.{name}")
    return {name: names for names in found.values() for name in (*names, names[-1].rpartition(".")[2])}
