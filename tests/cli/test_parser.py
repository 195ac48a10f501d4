import sys
from dataclasses import field
from pathlib import Path
from typing import Annotated

import pytest

from skipweave_cli.options import FitOptions
from skipweave_cli.parser import parse
from skipweave_config.errors import SkipweaveError
from skipweave_config.fields import FilePath, Integer, Text
from skipweave_config.fit_config import FitConfig, ModelConfig
from skipweave_config.recipe import ScheduleConfig
from skipweave_config.validation import Config


class Look(Config):
    """Look at a model.

    Attributes:
        model: Its name.
        size: Image size.
        args: Arguments.
    """

    model: Text
    size: Integer = 3
    args: dict[str, Integer] = field(default_factory=dict)


class Gather(Config):
    """Gather images.

    Attributes:
        images: Files to gather.
        top: How many.
    """

    images: tuple[FilePath, ...]
    top: Integer = 1


class Pick(Config):
    """Pick.

    Attributes:
        sizes: Sizes.
        shape: Shape.
        name: Name.
        filter: Filter.
    """

    sizes: list[Integer] = field(default_factory=lambda: [1])
    shape: tuple[Integer, Integer] | None = None
    name: Text | None = ""
    filter: Annotated[Text, "positional"] = ""


def fit(*words: str) -> FitOptions:
    return parse(FitOptions, words, "x fit")


def problems(kind: type, *words: str) -> tuple[str, ...]:
    with pytest.raises(SkipweaveError) as caught:
        parse(kind, words, "x look")
    assert "\n" not in str(caught.value)
    return caught.value.problems


def test_fields_without_default_are_positional_and_the_others_options():
    assert parse(Look, ["resnet18", "--size", "-5", "--args.growth", "3"], "x") == Look("resnet18", -5, {"growth": 3})
    assert parse(Look, ["--size=5", "--", "--strange"], "x") == Look("--strange", 5)
    assert parse(Gather, ["a.png", "--top=2", "b"], "x") == Gather((Path("a.png"), Path("b")), 2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Pick()),
        (["--sizes", "8"], Pick([8])),
        (["--sizes=8,9"], Pick([8, 9])),
        (["--sizes", "[8, 9]", "--shape", "2,3"], Pick([8, 9], (2, 3))),
        (["--shape", "null", "--name", "4,5"], Pick(name="4,5")),
        (["--name", "null", "word"], Pick(name=None, filter="word")),
        (["--name", "{a: [b"], Pick(name="{a: [b")),
        (["--name", "a", "--name=b"], Pick(name="b")),
    ],
)
def test_words_are_yaml_values_where_no_text_is_expected(words: list[str], expected: Pick):
    assert parse(Pick, words, "x") == expected


def test_options_of_a_config():
    assert fit() == FitOptions(FitConfig())
    assert fit("--schedule.milestones", "0.3,0.6").config.schedule == ScheduleConfig(milestones=(0.3, 0.6))
    words = ["--model", "{name: densenet40_12, args: {units: 2}}", "--model.args.growth", "8"]
    assert fit(*words).config.model == ModelConfig("densenet40_12", {"units": 2, "growth": 8})


def test_arguments_of_a_model_need_no_brackets():
    words = ["--model.args.units", "1,2,3", "--model.args.topology", "plain,dense", "--model.args.sparsify.density=0.1"]
    assert fit(*words).config.model.args == {
        "units": [1, 2, 3],
        "topology": ["plain", "dense"],
        "sparsify": {"density": 0.1},
    }


def test_options_override_files_and_later_files_earlier_ones(tmp_path: Path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("epochs: many\nseed: 3\nmodel: {name: densenet40_12, args: {units: 2, growth: wide}}\n")
    second.write_text("seed: 4\noptim: {weight_decay: 1e-4}\n")
    words = ["--config", str(first), f"--config={second}", "--epochs", "3", "--model.args.growth", "8"]
    config = fit(*words).config
    assert (config.epochs, config.seed, config.optim.weight_decay) == (3, 4, 1e-4)
    assert config.model == ModelConfig("densenet40_12", {"units": 2, "growth": 8})


def test_the_config_is_printed_as_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert fit("--epochs", "4", "--print_config") is None
    (tmp_path / "a.yaml").write_text(capsys.readouterr().out)
    assert fit("--config", str(tmp_path / "a.yaml")) == FitOptions(FitConfig(epochs=4))


def test_a_resumed_run_brings_its_config(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("epochs: 3\nseed: 5\ndata: {name: mnist, root: a, download: true}\n")
    for words in (["--resume", str(tmp_path)], [f"--resume={tmp_path}"]):
        options = fit(*words, "--data.workers", "2")
        assert (options.config.epochs, options.config.seed, options.resume) == (3, 5, tmp_path)
        assert (options.config.data.workers, options.config.data.download) == (2, False)


@pytest.mark.parametrize(
    ("words", "begin"),
    [
        (["--epoch", "3"], "unknown option --epoch: did you mean --epochs?"),
        (["--modle.name", "a"], "unknown option --modle.name: did you mean --model.name?"),
        (["--model.args.", "a"], "unknown option --model.args.: "),
        (["--optim.lr.x", "a"], "unknown option --optim.lr.x: did you mean --optim.lr?"),
        (["--epochs", "many"], "epochs is 'many': "),
        (["--epochs", "1.5"], "epochs is 1.5: "),
        (["--epochs", "-3"], "epochs is -3: "),
        (["--devices", "99999"], "devices is 99999: "),
        (["--data.crop", "wide"], "data.crop is 'wide': "),
        (["--schedule.milestones", "half"], "schedule.milestones[0] is 'half': "),
        (["--grad_checkpointing"], "grad_checkpointing has no value: "),
        (["--config"], "config has no value: "),
        (["--print_config=yes"], "unknown option --print_config: "),
        (["--model.args", "3"], "model.args is 3: "),
        (["--config", "none.yaml"], "cannot read none.yaml: "),
        (["--resume", "none"], "resume is 'none': "),
        (["word"], "unexpected word: "),
        (["-q"], "unknown option -q: "),
        (["--data.name", "cifra10", "--data.root", "a"], "data.name is 'cifra10': did you mean cifar10?"),
        (["--model", "my.yaml"], "model is 'my.yaml': should be a mapping of name, args"),
    ],
)
def test_a_mistake_is_one_problem_that_names_field_and_value(words: list[str], begin: str):
    (problem,) = problems(FitOptions, *words)
    assert problem.startswith(begin)


def test_all_mistakes_in_words_and_files_are_reported(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(
        "modle: {name: a}\nschedule: {gamma: 2, decay: slow}\nloss: [1]\nbatch_size: 1.5\ndata: {name: cifra10}\n"
    )
    words = ["--epochs", "many", "--optim.lr=x", "--optm.lr", "1", "--model.name", "5", "--seed", "--devices", "2"]
    found = problems(FitOptions, "--config", str(tmp_path / "a.yaml"), *words)
    begins = [
        "unknown option --optm.lr: did you mean --optim.lr?",
        "seed has no value: ",
        "data.name is 'cifra10': did you mean cifar10?",
        "optim.lr is 'x': ",
        "schedule.gamma is 2: ",
        "schedule.decay is 'slow': ",
        "loss is [1]: ",
        "epochs is 'many': ",
        "batch_size is 1.5: ",
        "unknown name modle: did you mean model?",
        "model: unknown model '5'",
    ]
    assert [problem[: len(begin)] for problem, begin in zip(found, begins, strict=True)] == begins


def test_all_mistakes_of_a_command_without_config_are_reported():
    found = problems(Look, "resnet18", "--size", "big", "--sise=3", "--args", "none")
    begins = ["unknown option --sise: did you mean --size?", "size is 'big': ", "args is 'none': "]
    assert [problem[: len(begin)] for problem, begin in zip(found, begins, strict=True)] == begins


@pytest.mark.parametrize(
    ("kind", "words", "begin"),
    [
        (Look, [], "MODEL is missing: usage: x look MODEL [OPTIONS]"),
        (Look, ["--model", "a"], "unknown option --model: give the value alone; usage: x look MODEL [OPTIONS]"),
        (Look, ["a", "b", "c"], "unexpected b c: usage: x look MODEL [OPTIONS]"),
        (Gather, [], "IMAGES is missing: usage: x look IMAGES... [OPTIONS]"),
        (Gather, ["--image", "a"], "unknown option --image: give the value alone; usage: x look IMAGES... [OPTIONS]"),
        (Pick, ["a", "b"], "unexpected b: usage: x look [FILTER] [OPTIONS]"),
        (Look, ["a", "--help.args"], "unknown option --help.args: did you mean --help?"),
        (Look, ["a", "--print_config"], "unknown option --print_config: "),
    ],
)
def test_wrong_words_are_reported_with_the_usage(kind: type, words: list[str], begin: str):
    assert problems(kind, *words)[0].startswith(begin)


def test_no_import_path_is_followed(tmp_path: Path):
    """`antigravity` would open a browser."""
    spec = "{class_path: antigravity.Anything, init_args: {a: 1}}"
    (tmp_path / "a.yaml").write_text(f"start: {spec}\n")
    for words in (["--config", str(tmp_path / "a.yaml")], ["--optim", spec], ["--data.name", spec]):
        problems(FitOptions, *words)
    assert fit("--model.args.topology", spec).config.model.args["topology"]["class_path"] == "antigravity.Anything"
    assert "antigravity" not in sys.modules


def test_help_shows_usage_descriptions_types_and_defaults(capsys: pytest.CaptureFixture[str]):
    assert parse(Gather, ["a", "--help"], "x gather") is None
    shown = capsys.readouterr().out
    assert shown.startswith("usage: x gather IMAGES... [OPTIONS]\n\nGather images.\n")
    for part in ("Files to gather.", "--top INT", "How many. (default: 1)"):
        assert part in shown


def test_help_of_a_config_is_grouped(capsys: pytest.CaptureFixture[str]):
    assert fit("-h") is None
    shown = capsys.readouterr().out
    places = [
        shown.index(part)
        for part in ("--epochs INT", "\nmodel:\n", "--model.args MAPPING", "\noptim:\n", "--optim.lr FLOAT")
    ]
    assert places == sorted(places)
    assert "--model " not in shown


def test_downloads_are_named_on_the_command_line_only(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("start: hf-hub:user/repo\n")
    with pytest.raises(SkipweaveError, match=r"start.*hf-hub:user/repo"):
        parse(FitOptions, ["--config", str(file)], "skipweave fit")
    assert str(parse(FitOptions, ["--start", "hf-hub:user/repo"], "skipweave fit").config.start) == "hf-hub:user/repo"
