"""Types of config fields. YAML, the command line and Python take the same values: nothing is converted silently."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, Strict

_MAX_DEPTH = 16
_MAX_INTEGER = 2**63


def _plain_text(value: Any) -> Any:
    if re.search("[\0\ud800-\udfff]", str(value)):
        raise ValueError("should not contain NUL characters or surrogates")
    return value


def not_empty(values: Any) -> Any:
    """Validator of lists: at least one item. pydantic's `min_length` would also report lists whose items are wrong."""
    if not values:
        raise ValueError("should not be empty")
    return values


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, or text with a unit")
    return value


def parse_count(value: Any) -> Any:
    """Parse a count such as `60k`, `1.5M` or `2G`; other values are returned as they are.

    >>> parse_count("1.5M")
    1500000
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)", value.strip()) if isinstance(value, str) else None
    return round(float(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[found[2]]) if found else value


def plain_values(value: Any) -> Any:
    """Return a mapping of names to values that YAML and JSON can hold, with tuples as lists.

    pydantic's `JsonValue` is not used: it bounds neither depth nor integers, and admits NaN and surrogates.

    Raises:
        ValueError: The mapping holds other values, or is nested too deeply.
    """
    if not isinstance(value, Mapping):
        raise ValueError("should be a mapping of names to values")
    return _plain(value, _MAX_DEPTH)


def _plain(value: Any, depth: int) -> Any:
    if depth < 0:
        raise ValueError(f"should not be nested more than {_MAX_DEPTH} times")
    if isinstance(value, Mapping):
        return {_plain_name(name): _plain(item, depth - 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth - 1) for item in value]
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise ValueError("should hold integers of at most 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("should hold finite numbers")
    if isinstance(value, str):
        return _plain_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError(f"should hold text, numbers, true, false, null, lists and mappings, not {type(value).__name__}")


def _plain_name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("should have names as keys")
    return _plain_text(value)


Integer = Annotated[int, Strict(), Field(ge=-_MAX_INTEGER, lt=_MAX_INTEGER)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), AfterValidator(_plain_text)]
FilePath = Annotated[Path, AfterValidator(_plain_text)]
PlainValues = Annotated[dict[str, Any], BeforeValidator(plain_values)]

PositiveInteger = Annotated[Integer, Field(ge=1)]
NonNegativeInteger = Annotated[Integer, Field(ge=0)]
PositiveNumber = Annotated[Number, Field(gt=0)]
NonNegativeNumber = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(gt=0, le=1)]

Count = Annotated[PositiveInteger, BeforeValidator(parse_count)]
MemorySize = Annotated[ByteSize, Field(gt=0), BeforeValidator(_not_bool)]
