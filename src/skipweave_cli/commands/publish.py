"""`skipweave publish`: a run's model as pretrained weights."""

from dataclasses import replace
from pathlib import Path

from skipweave.engines import EngineNet
from skipweave.export.publication import (
    DATA_TERMS,
    as_registered,
    facts_of,
    half_precision,
    int8_network,
    measure,
    shipped_card,
    shipped_config,
)
from skipweave.files.atomic_write import write_together
from skipweave.training import Description, load_run, load_run_images
from skipweave.training.checkpoint.weights_file import encode_weights
from skipweave.training.run.loading import RunImages, moved
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.run.versions import read_versions
from skipweave_cli.options import PublishOptions
from skipweave_cli.output_files import check_room, make_room
from skipweave_cli.tables import say
from skipweave_config import shipped_weights
from skipweave_config.config_files import as_yaml
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig


def publish(options: PublishOptions) -> None:
    """Measure a finished run's model, and write its weights, recipe, config and model card.

    Raises:
        SkipweaveError: The run is not finished, no registered name stands for its model, commit, device or terms of the
            data are not known, it started from a local file, it has no test images, or there are such weights already.
    """
    summary = RunDirectory(options.run).read_summary()
    if summary is None:
        raise SkipweaveError(f"{options.run} is not finished: skipweave fit --resume {options.run}")
    _, config, own = load_run(options.run, options.which)
    description = as_registered(own)
    origin, recipe = _origin(options, description), _recipe(config, description)
    name = f"{description.model}.{options.tag}"
    place = (options.output or shipped_weights.FOLDER) / name
    marks = [place / shipped_weights.CONFIG]  # without this file there are no such weights
    check_room(marks, "--tag or --output")
    run = load_run_images(options.run, "test", options.which, options.root)
    make_room(marks, "--tag or --output")
    metric, results = measure(run, _int8(run, description))
    weights = encode_weights(half_precision(run.network), description)
    facts = facts_of(summary, metric, results, weights, data=description.data, **origin)
    files = {
        shipped_weights.WEIGHTS_FILE: weights,
        shipped_weights.RECIPE: as_yaml(recipe).encode(),
        "README.md": shipped_card(run.network, description, facts, name).encode(),
        shipped_weights.CONFIG: shipped_config(run.network, description, facts).encode(),
    }
    write_together({place / file: content for file, content in files.items()})
    for title, value in facts.metrics.items():
        say(f"{title}: {value}")
    say(f"saved {place} ({facts.bytes:,} bytes of weights)")


def _origin(options: PublishOptions, description: Description) -> dict[str, str]:
    """Commit, device and terms of the data: given, else recorded by the run or known."""
    recorded = read_versions(RunDirectory(options.run).versions)
    gpu, commit = recorded.get("GPU", "none"), recorded.get("commit", "")
    origin = {
        "commit": options.commit or ("" if commit.endswith("-dirty") else commit),
        "device": options.device or (gpu if gpu != "none" else recorded.get("processor", "")),
        "data_terms": options.data_terms or DATA_TERMS.get(description.data, ""),
    }
    if unknown := [name for name, value in origin.items() if not value]:
        raise SkipweaveError(*(f"{name} of {options.run} is not known: give --{name}" for name in unknown))
    return origin


def _int8(run: RunImages, description: Description) -> EngineNet | None:
    """The network in int8; if there is none, prints why."""
    try:
        return int8_network(run, description)
    except SkipweaveError as error:
        say(f"int8 is not measured: {error}")
        return None


def _recipe(config: FitConfig, description: Description) -> FitConfig:
    """The config with the registered name of the model, and without paths of the machine that trained.

    Raises:
        SkipweaveError: The run started from weights in a local directory.
    """
    if config.start and config.start.exists():
        raise SkipweaveError(
            f"the run starts from {config.start}, which others do not have: expected none, hf-hub:USER/REPO, or the "
            "name of weights of the package"
        )
    data = moved(config.data, Path("data")) if config.data.root or config.data.labels else config.data
    args = {key: value for key, value in config.model.args.items() if key in description.args}
    model = replace(config.model, name=description.model, args=args)
    return replace(config, model=model, data=data, output=FitConfig.output)
