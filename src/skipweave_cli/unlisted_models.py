"""Models of a wrong config that are not listed: whether timm has them is known only after importing it."""

from collections.abc import Iterator, Mapping
from typing import Any

from skipweave_config.errors import noted_in
from skipweave_config.model_table import model_table


def problems_of_unlisted(values: Mapping[str, Any]) -> list[str]:
    """The problems of models that are not listed, so that they are reported with the other mistakes of a config."""
    problems: list[str] = []
    for field, model in _models(values):
        name = model.get("name") if isinstance(model, Mapping) else None
        if not isinstance(name, str) or name in model_table():
            continue
        from skipweave.training.model_building import check_network

        args = model.get("args", {})
        with noted_in(problems, field):
            check_network(name, args if isinstance(args, Mapping) else {})
    return problems


def _models(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "model", values.get("model")
    networks = values.get("networks")
    if isinstance(networks, list):
        for number, network in enumerate(networks):
            yield f"networks[{number}]", {"name": network} if isinstance(network, str) else network
