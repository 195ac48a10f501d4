"""Facts of the report: dataset, recipe and machine, as titled lists of lines."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from skipweave.data import ImageDataset, SegmentationDataset
from skipweave.study.halving import rung_text
from skipweave.study.results import Network, Rung
from skipweave.training import LossConfig, OptimConfig, ScheduleConfig
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.run.versions import read_versions
from skipweave.training.tasks.metrics import Metric
from skipweave.training.tasks.task import Data, metric_for
from skipweave_config.study_config import StudyConfig

Lines = list[tuple[str, str]]

_OPTIMIZERS = {"sgd": "SGD", "rmsprop": "RMSprop"}


def facts(
    config: StudyConfig,
    data: Data,
    networks: Sequence[Network],
    run_dirs: Sequence[Path],
    device: str,
    rungs: Sequence[Rung] = (),
) -> dict[str, Lines]:
    """Return the facts of the report, by section in its order; `run_dirs` are those of the runs that did not fail."""
    return {
        "Data and split": _data(config, data),
        "Recipe": [
            *_recipe(config, networks),
            ("precision", _precision(config, run_dirs)),
            *_halving(config, rungs, metric_for(data, config.monitor)),
        ],
        "Machine and versions": [("device", device), *(_versions(run_dirs[0]) if run_dirs else ())],
    }


def _data(config: StudyConfig, data: Data) -> Lines:
    height, width = data.image_size
    kind = {1: "gray", 3: "color"}.get(data.in_chans, f"{data.in_chans} channels")
    return [
        ("dataset", config.data.title),
        ("images", f"{width} × {height} pixels, {kind}, {len(data.classes)} classes"),
        ("training", f"{_size(data.train)} images{', augmented' if config.data.augment else ', not augmented'}"),
        ("validation", f"{_size(data.val)} images, which are not trained on" if data.val else "none"),
        ("test", f"{_size(data.test)} images, not used before the end of training"),
        ("split seed", str(config.data.split_seed)),
    ]


def _size(images: ImageDataset | SegmentationDataset | None) -> str:
    return f"{len(images):,}" if images is not None else "0"


def _recipe(config: StudyConfig, networks: Sequence[Network]) -> Lines:
    optim = config.optim
    groups = [
        (f"optimizer of {', '.join(group.parameters)}", f"{_optimizer(own)}, learning rate {own.lr:g}")
        for group in optim.groups
        for own in [group.optimizer(vars(optim))]
    ]
    lines = [
        ("epochs", f"{config.epochs}, in batches of {config.batch_size}"),
        ("optimizer", _optimizer(optim)),
        *groups,
        ("learning rate", f"{optim.lr:g}{_schedule(config.schedule)}"),
        ("loss", _loss(config.loss)),
        *_options(config),
        ("seeds", ", ".join(map(str, config.seeds))),
    ]
    densified = [
        f"{network.title}: every {network.densify.every} steps, {network.densify.new} weights"
        for network in config.networks
        if network.densify.every
    ]
    lines += [("densification", "; ".join(densified))] if densified else []
    options = [f"{network.label}: {text}" for network in networks if (text := _options_of_run(network, config))]
    lines += [("devices and memory", "; ".join(options))] if options else []
    return [*lines, ("equal cost", _matching(config, networks))]


def _precision(config: StudyConfig, run_dirs: Sequence[Path]) -> str:
    """That of the study, or what `auto` stood for in its runs, which may be on several machines."""
    if config.precision != "auto" or not run_dirs:
        return config.precision
    counts = Counter(RunDirectory(run_dir).read_config().precision for run_dir in run_dirs)
    only, *others = counts
    return ", ".join(f"{name} in {count} runs" for name, count in counts.items()) if others else only


def _options_of_run(network: Network, config: StudyConfig) -> str:
    """Devices and memory options of a network's runs, where they are not the study's."""
    smaller = network.batch_size is not None and network.batch_size < config.batch_size
    options = (
        f"{network.devices} devices" if network.devices > 1 else "",
        "activation checkpointing" if network.grad_checkpointing else "",
        f"batches of {network.batch_size}" if smaller else "",
    )
    return ", ".join(filter(None, options))


def _halving(config: StudyConfig, rungs: Sequence[Rung], metric: Metric) -> Lines:
    """The networks that successive halving stopped, rung by rung."""
    if not rungs:
        return []
    seeds = f"the best 1/{config.halving.factor} of the networks were trained further, by the mean over seeds"
    return [("successive halving", seeds), *(("stopped", rung_text(rung, metric)) for rung in rungs)]


def _options(config: StudyConfig) -> Lines:
    """Parts of the recipe that are off by default."""
    ema, mix, stages = config.ema, config.mix, config.progressive.stages
    mixed = [f"{name} {alpha:g}" for name, alpha in (("mixup", mix.mixup), ("CutMix", mix.cutmix)) if alpha]
    share = f" of {mix.probability:.0%} of the batches" if mix.probability < 1 else ""
    last = f", none in the last {mix.last_epochs} epochs" if mix.last_epochs else ""
    options = {
        "averaged weights": f"decay {ema.decay:g}" if ema.decay else "",
        "mixing": f"{' or '.join(mixed)}{share}{last}" if mixed else "",
        "test-time augmentation": f"{config.tta}, beside the result without" if config.tta != "none" else "",
        "smaller images": ", ".join(f"{scale:g} of the side until epoch {end}" for scale, end in stages),
    }
    return [(name, text) for name, text in options.items() if text]


def _optimizer(optim: OptimConfig) -> str:
    momentum = f", {'Nesterov ' if optim.nesterov else ''}momentum {optim.momentum:g}" if optim.momentum else ""
    return f"{_OPTIMIZERS.get(optim.name, optim.name)}{momentum}, weight decay {optim.weight_decay:g}"


def _schedule(schedule: ScheduleConfig) -> str:
    warmup = (
        f", warm-up of {schedule.warmup_epochs:g} epoch{'s' * (schedule.warmup_epochs != 1)}"
        if schedule.warmup_epochs
        else ""
    )
    if schedule.name != "step":
        return f"{warmup}, {schedule.name} to {schedule.min_lr:g}"
    milestones = ", ".join(f"{milestone:.0%}" for milestone in schedule.milestones)
    falls = f", times {schedule.gamma:g} after {milestones} of the steps" if milestones else ""
    decay = f", times {schedule.decay:g} an epoch" if schedule.decay < 1 else ""
    return f"{warmup}{falls}{decay}"


def _loss(loss: LossConfig) -> str:
    last = f", the last head alone in the last {loss.last_epochs} epochs" if loss.last_epochs else ""
    weights = "" if loss.class_weights == "none" else f", class weights: {loss.class_weights.replace('_', ' ')}"
    name = loss.name.replace("_", "-").replace("+", " and ")
    return f"{name}{weights}; heads before the last, where there are some: {loss.heads}{last}"


def _versions(run_dir: Path) -> Lines:
    """Versions of a run; the commit is empty if skipweave was installed."""
    return [(name, version) for name, version in read_versions(run_dir / "versions.json").items() if version]


def _matching(config: StudyConfig, networks: Sequence[Network]) -> str:
    """The target of cost matching, and the costs reached."""
    if config.match is None:
        return "not asked for"
    target = config.target or 0
    costs = [int(getattr(network.cost, config.match)) for network in networks if network.cost]
    return (
        f"growth or widths scaled to {config.match} {target:,}; reached {min(costs):,} to {max(costs):,} "
        f"({min(costs) / target - 1:+.1%} to {max(costs) / target - 1:+.1%})"
    )
