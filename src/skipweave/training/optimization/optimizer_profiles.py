"""Names and arguments of timm's optimizers, for `skipweave_config.optimizer_table`.

python -m skipweave.training.optimization.optimizer_profiles
"""

import inspect
import json
from dataclasses import asdict

from timm.optim import get_optimizer_class, get_optimizer_info, list_optimizers

from skipweave.files.atomic_write import write_text
from skipweave_config.optimizer_table import FILE, OptimizerEntry

# Arguments that are fields of the config, or choose an implementation and not a result.
_OWN = ("self", "params", "lr", "weight_decay", "momentum")
_IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable", "maximize", "verbose")
# Their state is not all in `state_dict`, so that a run could not be resumed exactly.
_NOT_RESUMABLE = ("kron", "kronc", "kronw")
_OTHER_PACKAGES = ("apex.", "bitsandbytes.")


def optimizer_entry(name: str) -> OptimizerEntry:
    """The names of an optimizer's arguments."""
    info = get_optimizer_info(name)
    parameters = inspect.signature(get_optimizer_class(name, bind_defaults=False)).parameters
    nesterov = None
    if info.has_momentum and "nesterov" in parameters:
        nesterov = (info.defaults or {}).get("nesterov", parameters["nesterov"].default)
    own = _OWN if nesterov is None else (*_OWN, "nesterov")
    arguments = (key for key in parameters if key not in own + _IMPLEMENTATION and not key.endswith("dtype"))
    return OptimizerEntry(name, info.has_momentum, nesterov, tuple(arguments))


def available_optimizers() -> list[str]:
    """Timm's optimizers that need no other package and no second derivatives, and whose runs can be resumed exactly."""
    return [
        name
        for name in map(str, list_optimizers())
        if not str(get_optimizer_info(name).opt_class).startswith(_OTHER_PACKAGES)
        and not get_optimizer_info(name).second_order
        and name not in _NOT_RESUMABLE
    ]


def write_table() -> None:
    """Write the file."""
    lines = ",\n".join(json.dumps(asdict(optimizer_entry(name))) for name in available_optimizers())
    write_text(FILE, f"[\n{lines}\n]\n")


if __name__ == "__main__":
    write_table()
