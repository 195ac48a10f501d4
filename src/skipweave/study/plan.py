"""The networks of a study, built on the meta device with matched costs, before training."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from skipweave.analysis.profile import profile, topologies_of
from skipweave.data import SegmentationData
from skipweave.plotting.connections import plot_arcs
from skipweave.plotting.figure_files import save_figure
from skipweave.study.cost_matching import match_cost
from skipweave.study.memory import inference_bytes, training_bytes
from skipweave.study.results import Cost, Network
from skipweave.topology import join_stages
from skipweave.training.memory_plan import within_memory
from skipweave.training.model_building import arguments_for, build_network, check_labels, count_parameters
from skipweave.training.preflight import check_sizes
from skipweave.training.tasks.task import Data, task_for
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig, ModelConfig
from skipweave_config.study_config import NetworkConfig, StudyConfig


def plan_networks(config: StudyConfig, data: Data) -> tuple[Network, ...]:
    """The study's networks with the overrides they will be trained with, and their costs.

    A network that cannot be built or matched is kept, with the reason, so that the study can report it.

    Raises:
        SkipweaveError: none can be built.
    """
    networks = tuple(_plan(network, config, data) for network in config.networks)
    if not any(network.cost for network in networks):
        raise SkipweaveError(*map(_failure, networks))
    return networks


def build(name: str, args: Mapping[str, Any], data: Data) -> nn.Module:
    """Build a network for the data, without memory for its weights.

    Raises:
        SkipweaveError: It cannot be built, or is not for such data.
    """
    with torch.device("meta"):
        network = build_network(name, arguments_for(name, args, data))
    check_labels(name, network, pixels=isinstance(data, SegmentationData))
    return network


def draw_networks(folder: Path, networks: tuple[Network, ...], data: Data) -> dict[str, Path]:
    """Draw the connections of each network that has stages.

    Returns:
        The SVG of each network drawn, by label.
    """
    drawn = {}
    for place, network in enumerate(networks):
        topologies = topologies_of(build(network.model, network.args, data)) if network.cost else ()
        if topologies:
            drawn[network.label] = save_figure(plot_arcs(topologies), folder / f"connections_{place + 1}")[1]
    return drawn


def _failure(network: Network) -> str:
    named = network.failure.startswith(network.label)
    return network.failure if named else f"{network.label}: {network.failure}"


def _plan(asked: NetworkConfig, config: StudyConfig, data: Data) -> Network:
    network = Network(asked.title, asked.name, asked.args, devices=asked.devices)
    try:
        args = _matched(asked, config, data) if config.match else asked.args
        built = build(asked.name, args, data)
        cost = cost_of_model(built, data)
        run = _within_memory(asked, args, config, data)
        images = run.batch_size // run.devices
        check_sizes(built, data, images, config.progressive)
        make = partial(build_network, asked.name, arguments_for(asked.name, args, data))
        memory = training_bytes(make, config, data, images, grad_checkpointing=run.grad_checkpointing)
        return replace(
            network,
            args=args,
            cost=replace(cost, training_bytes=memory),
            batch_size=run.batch_size,
            grad_checkpointing=run.grad_checkpointing,
        )
    except SkipweaveError as error:
        return replace(network, failure=" ".join(str(error).split()))


def _within_memory(asked: NetworkConfig, args: Mapping[str, Any], config: StudyConfig, data: Data) -> FitConfig:
    """The config of a run, with the batch size and activation checkpointing that its memory asks for."""
    run = config.fit_config(ModelConfig(asked.name, dict(args)), 0, config.output, asked)
    if run.max_memory is None:
        return run
    task = task_for(data, config.loss, config.monitor)
    return within_memory(run, arguments_for(asked.name, args, data), task, data)[0]


def _matched(asked: NetworkConfig, config: StudyConfig, data: Data) -> dict[str, Any]:
    cost = count_parameters if config.match == "parameters" else lambda model: cost_of_model(model, data).macs
    target = config.target or 0
    return match_cost(asked.name, asked.args, lambda **args: build(asked.name, args, data), cost, target)


def cost_of_model(model: nn.Module, data: Data) -> Cost:
    """The cost of a network on images of the dataset's size."""
    counted = profile(model, (data.in_chans, *data.image_size))
    stages = topologies_of(model)
    whole = join_stages(stages)
    distances = whole.max_distance, whole.mean_distance
    return Cost(
        counted.parameters,
        counted.macs,
        sum(stage.links for stage in stages),
        *distances,
        counted.exit_macs,
        inference_bytes=inference_bytes(model, counted),
    )
