"""Topologies: which earlier nodes a unit reads. Plain data, no torch."""

from skipweave.topology.channel_patterns import ChannelPattern
from skipweave.topology.graph import Link, Topology, join_stages
from skipweave.topology.patterns import (
    TopologySpec,
    dense,
    evenly_spaced,
    every_other,
    exponential,
    fractal,
    harmonic,
    loglog,
    loglog_hubs,
    make,
    names,
    nearest,
    nearest_half,
    nearest_half_and_log,
    plain,
    register,
    window,
)
from skipweave.topology.spanning_plan import Prune, SpanningPlan, Step, Version

__all__ = [
    "ChannelPattern",
    "Link",
    "Prune",
    "SpanningPlan",
    "Step",
    "Topology",
    "TopologySpec",
    "Version",
    "dense",
    "evenly_spaced",
    "every_other",
    "exponential",
    "fractal",
    "harmonic",
    "join_stages",
    "loglog",
    "loglog_hubs",
    "make",
    "names",
    "nearest",
    "nearest_half",
    "nearest_half_and_log",
    "plain",
    "register",
    "window",
]
