"""Size and cost of the registered models, for `skipweave_config.model_table`.

python -m skipweave.analysis.model_profiles
"""

import inspect
import json
from dataclasses import asdict

import torch

from skipweave.analysis.operation_counts import count
from skipweave.analysis.profile import parameters_by_type
from skipweave.files.atomic_write import write_text
from skipweave.ledger import rows
from skipweave.models import arguments_of, create_model, list_models
from skipweave_config.model_table import FILE, ModelEntry


def model_entry(name: str) -> ModelEntry:
    """Build a registered model on the meta device, and measure it."""
    with torch.device("meta"):
        model = create_model(name)
        input_size: tuple[int, int, int] = tuple(model.pretrained_cfg["input_size"])  # type: ignore[index]
        macs = count(model, torch.empty(1, *input_size)).total_macs
    parameters = sum(parameters_by_type(model).values())
    family = type(model).__module__.rpartition(".")[2]
    arguments = tuple(inspect.signature(type(model)).parameters)
    return ModelEntry(name, family, input_size, parameters, macs, _published(name), arguments)


def write_table() -> None:
    """Measure all registered models and write the file."""
    lines = ",\n".join(json.dumps(asdict(model_entry(name))) for name in list_models())
    write_text(FILE, f"[\n{lines}\n]\n")


def _published(name: str) -> str:
    """Most precise printed number of parameters, of a row that the model's own arguments give."""
    arguments = arguments_of(name)
    figures = [
        f"{row.printed}{row.unit}"
        for row in rows()
        if (row.model, row.quantity, row.match) == (name, "parameters", "yes")
        and all(key == "num_classes" or arguments.get(key) == value for key, value in row.overrides.items())
    ]
    return max(figures, key=len, default="")


if __name__ == "__main__":
    write_table()
