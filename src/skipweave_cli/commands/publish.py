"""`skipweave publish`: a run's model as pretrained weights."""

from dataclasses import replace
from pathlib import Path

from skipweave.engines.sessions import missing
from skipweave.export.publication import (
    check_publishable,
    facts_of,
    measure,
    shipped_card,
    shipped_config,
    write_weights,
)
from skipweave.files.atomic_write import write_text
from skipweave.training import RunSummary, load_run, load_run_images
from skipweave.training.run.loading import moved
from skipweave.training.run.run_directory import RunDirectory
from skipweave_cli.options import PublishOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import say
from skipweave_config import shipped_weights
from skipweave_config.config_files import as_yaml
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig
from skipweave_config.shipped_weights import WEIGHTS_FILE

_FILES = (WEIGHTS_FILE, "config.yaml", "README.md", "config.json")


def publish(options: PublishOptions) -> None:
    """Measure a finished run's model, and write its weights, recipe, config and model card.

    Raises:
        SkipweaveError: The run is not finished, its name does not stand for its model, it has no test images, or a file
            exists already.
    """
    summary = _summary(options.run)
    network, config, description = load_run(options.run, options.which)
    check_publishable(description)
    name = f"{description.model}.{options.tag}"
    place = (options.output or shipped_weights.FOLDER) / name
    make_room([place / each for each in _FILES], "--tag or --output")
    run = load_run_images(options.run, "test", options.which, options.root)
    metric, results = measure(run, description, int8=_has_int8())
    written = write_weights(place / WEIGHTS_FILE, network, description)
    given = dict(commit=options.commit, device=options.device, data=description.data, data_terms=options.data_terms)
    facts = facts_of(summary, metric, results, written, **given)
    write_text(place / "config.yaml", as_yaml(_recipe(config)))
    write_text(place / "README.md", shipped_card(network, description, facts, name))
    write_text(place / "config.json", shipped_config(network, description, facts))  # last: it makes the weights known
    for each in results:
        value = f"{facts.label} {facts.text(each.value)} ({each.images:,} images)"
        say(f"{each.split}, {each.weights}, tta {each.tta}: {value}")
    say(f"saved {place} ({facts.bytes:,} bytes of weights)")


def _summary(run: Path) -> RunSummary:
    summary = RunDirectory(run).read_summary()
    if summary is None:
        raise SkipweaveError(f"{run} is not finished: skipweave fit --resume {run}")
    return summary


def _has_int8() -> bool:
    """Whether the packages for int8 are installed; if not, prints which are missing."""
    problems = missing(["openvino", "nncf"])
    for problem in problems:
        say(f"int8 is not measured: {problem}")
    return not problems


def _recipe(config: FitConfig) -> FitConfig:
    """The config without paths of the machine that trained."""
    data = moved(config.data, Path("data")) if config.data.root else config.data
    return replace(config, data=data, output=FitConfig.output)
