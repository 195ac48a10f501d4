"""Extension of Sphinx: docstrings in the style of Google, and signatures of dataclasses and configs.

`sphinx.ext.napoleon` takes the first line of a property's docstring up to a colon as its type. Here it is text.
"""

from typing import Any

from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.ext.napoleon import Config, GoogleDocstring

CONFIG = Config(napoleon_use_ivar=True, napoleon_use_rtype=False, napoleon_preprocess_types=False)


def _convert(app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    kind = "method" if what in ("attribute", "data", "property") else what
    lines[:] = GoogleDocstring(lines, CONFIG, app, kind, name, found, options).lines()


def _sign(
    app: Sphinx, what: str, name: str, found: Any, options: object, arguments: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Give configs signatures of their fields, and write defaults as Python, without which types are no links."""
    fields = getattr(found, "__pydantic_fields__", None)
    if what == "class" and fields:
        return f"(*, {', '.join(f'{name}={_default(field)}' for name, field in fields.items())})", None
    return arguments and arguments.replace("<factory>", "..."), result


def _default(field: FieldInfo) -> str:
    is_plain = isinstance(field.default, bool | int | float | str | tuple | None)
    return repr(field.default) if is_plain else "..."


def setup(app: Sphinx) -> dict[str, bool]:
    """Convert every docstring and signature before it is parsed."""
    app.connect("autodoc-process-docstring", _convert)
    app.connect("autodoc-process-signature", _sign)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    return {"parallel_read_safe": True}
