"""Extension of Sphinx: the directive `reference`, a table of public names and their documentation.

Its argument is a package, its lines are names of `__all__`. A name of data (a constant or a type) is followed by a
colon and its description, as data have no docstrings. A public name on no page is a warning, an error of `make docs`.
"""

import inspect
from importlib import import_module
from typing import ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from public_names import aliases, public_names
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective


class Reference(SphinxDirective):
    """Document names of a package: a table of their summaries, then each of them."""

    required_arguments: ClassVar = 1
    has_content: ClassVar = True

    def run(self) -> list[nodes.Node]:
        """Parse the documentation of the names."""
        package = self.arguments[0]
        names = [line.partition(":")[::2] for line in self.content if line.strip()]
        lines = ["```{eval-rst}", f".. currentmodule:: {package}", "", ".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   {name}" for name, text in names if not text]
        for name, text in names:
            lines += ["", *_documentation(package, name, text.strip())]
        node = nodes.container()
        self.state.nested_parse(StringList([*lines, "```"], self.get_source_info()[0]), self.content_offset, node)
        return node.children


def _documentation(package: str, name: str, text: str) -> list[str]:
    found = getattr(import_module(package), name)
    if text:
        value = str(found).replace("typing.", "")
        return [f".. py:data:: {name}", *([f"   :value: {value}"] if len(value) < 90 else []), "", f"   {text}"]
    return [f".. autoclass:: {name}" if inspect.isclass(found) else f".. autofunction:: {name}"]


def _check(app: Sphinx, env: BuildEnvironment) -> None:
    documented = env.domains.python_domain.objects
    for package, name in public_names():
        if not any(alias in documented for alias in aliases()[f"{package}.{name}"]):
            logging.getLogger(__name__).warning("%s.%s is not in the API reference (docs/api)", package, name)


def _link(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.Element | None:
    """Resolve names as they are in annotations and docstrings: of the defining module, or without a package."""
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    for alias in aliases().get(node["reftarget"], ()):
        if alias in domain.objects:
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", alias, node, text)
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive, and the check that every public name is on some page."""
    app.add_directive("reference", Reference)
    app.connect("env-check-consistency", _check)
    app.connect("missing-reference", _link)
    return {"parallel_read_safe": True}
