"""Files of tensors and plain values: safetensors with JSON in the header. No code is loaded from them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as as_bytes
from torch import Tensor

from skipweave.files.atomic_write import replacing
from skipweave_config.errors import SkipweaveError

Shapes = Mapping[str, tuple[int, ...]]
Value = TypeVar("Value")

_FLOATING = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_WHOLE = {
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_KINDS = _FLOATING | _WHOLE
_LONGEST_HEADER = 2**24  # bytes; that of a checkpoint of the largest network here, 2000 layers, has 2**21


def save(path: Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors and plain values into one file, atomically and deterministically.

    Args:
        path: The file to write or to replace.
        tensors: As for `encode`.
        info: As for `encode`.

    Raises:
        OSError: It cannot be written.
    """
    header, data = encode(tensors, info)
    with replacing(path) as temporary, temporary.open("wb") as file:  # save_file leaves temporary files if killed
        file.write(header)
        file.write(data)


def encode(tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> tuple[bytes, memoryview]:
    """Header and data of a file of tensors and plain values.

    Args:
        tensors: By name; tensors that share memory are written out each.
        info: What JSON can hold, without NaN and infinities.
    """
    written = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps({**info, "sha256": _digest(written)}, allow_nan=False)
    sealed = seal(text, {name: _KINDS[tensor.dtype] for name, tensor in written.items()}, shapes_of(written))
    return _encoded(written, {"seal": sealed, "skipweave": text})


def _encoded(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, memoryview]:
    """The header and the data of a safetensors file; its own writer does not order metadata deterministically."""
    plain = as_bytes(tensors)
    start = 8 + int.from_bytes(plain[:8], "little")  # after the header's length and the header
    header = json.dumps({"__metadata__": metadata, **json.loads(plain[8:start])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # so that the data are aligned
    return len(header).to_bytes(8, "little") + header, memoryview(plain)[start:]


def seal(info: str, kinds: Mapping[str, str], shapes: Shapes) -> str:
    """The checksum of a file's header.

    Args:
        info: The plain values, as JSON.
        kinds: The type of every tensor's numbers, by its name, as safetensors calls it.
        shapes: Of every tensor.
    """
    tensors = [(name, kinds[name], shapes[name]) for name in sorted(shapes)]
    return hashlib.sha256(json.dumps([info, tensors]).encode()).hexdigest()


@dataclass(frozen=True)
class Saved:
    """A file written by `save`, of which only the header is read yet.

    Attributes:
        path: Where it is.
        info: The plain values.
        shapes: Of every tensor, by name.
        floating: The tensors that are not of whole numbers.
    """

    path: Path
    info: Mapping[str, Any]
    shapes: Shapes
    floating: frozenset[str]

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """Read the tensors whose name starts with a prefix, and remove the prefix.

        Raises:
            SkipweaveError: The bytes are not those that were written.
        """
        with safe_open(self.path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in self.shapes}
        if _digest(tensors) != self.info.get("sha256"):
            raise SkipweaveError(f"damaged file (its contents are not what was written): {self.path}")
        return without_prefix(tensors, prefix)

    def expect(self, tensors: Mapping[str, Tensor], prefix: str, model: str) -> None:
        """Check by the header that this file holds exactly the tensors of a model.

        Args:
            tensors: Of the model, by name; they may be on the meta device.
            prefix: Of the names in the file.
            model: What messages call the model.

        Raises:
            SkipweaveError: One line that names the first tensor that is missing, extra, of another shape or of whole
                numbers in one of the two only.
        """
        ours, shapes = without_prefix(self.shapes, prefix), shapes_of(tensors)
        for name in sorted(ours.keys() | shapes.keys()):
            if ours.get(name) != shapes.get(name):
                raise SkipweaveError(
                    f"{self.path} is not of this {model}: tensor {name} is {_shape(ours.get(name))} in the file "
                    f"and {_shape(shapes.get(name))} in the model"
                )
            if (prefix + name in self.floating) != tensors[name].is_floating_point():
                raise SkipweaveError(f"{self.path} is not of this {model}: tensor {name} is of other numbers there")


def open_saved(path: Path) -> Saved:
    """Read the header of a file that `save` wrote.

    Raises:
        SkipweaveError: The file is missing, damaged, or of another kind.
    """
    _check_header(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
            kinds = {name: part.get_dtype() for name, part in parts.items()}
    except (SafetensorError, OSError, MemoryError, RuntimeError) as error:
        raise SkipweaveError(f"damaged file, or not one of safetensors: {path} ({_first_line(error)})") from error
    if strange := [name for name, kind in kinds.items() if kind not in _KINDS.values()]:
        raise SkipweaveError(f"damaged file: tensor {strange[0]} of {path} is of {kinds[strange[0]]} numbers")
    if "skipweave" not in metadata:
        raise SkipweaveError(f"not written by skipweave (its description is missing from the header): {path}")
    if metadata.get("seal") != seal(metadata["skipweave"], kinds, shapes):
        raise SkipweaveError(f"damaged file (its header is not what was written): {path}")
    try:
        info = json.loads(metadata["skipweave"])
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict):
        raise SkipweaveError(f"damaged file (its description is not one): {path}")
    return Saved(path, info, shapes, frozenset(name for name, kind in kinds.items() if kind in _FLOATING.values()))


def _check_header(path: Path) -> None:
    """Check that a path is a file whose header has a plausible length."""
    try:
        if path.exists() and not path.is_file():
            raise SkipweaveError(f"not a file: {path}")
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
    except FileNotFoundError:
        raise SkipweaveError(f"no such file: {path}") from None
    except OSError as error:
        raise SkipweaveError(f"cannot read {path}: {error.strerror}") from error
    if length > _LONGEST_HEADER:
        raise SkipweaveError(
            f"damaged file, or not one of safetensors: {path} (its header would be of {length:,} bytes)"
        )


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    """The shape of every tensor, by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def without_prefix(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The tensors or shapes whose name starts with a prefix, by the rest of their name."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "x".join(map(str, shape)) or "a scalar"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
