import sys
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest

from skipweave_cli import COMMANDS, options
from skipweave_cli.options import FitOptions
from skipweave_cli.parser import Option, parse, syntax_of
from skipweave_config.fields import FilePath, Integer, Text
from skipweave_config.fit_config import FitConfig, ModelConfig
from skipweave_config.recipe import ScheduleConfig
from skipweave_config.validation import Config, plain_hint
from tests.errors import assert_each_reports, assert_reports, raises


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


class Compare(Config):
    """Compare networks.

    Attributes:
        networks: Mappings and names.
    """

    networks: list[Any] = field(default_factory=list)


class PickEither(Config):
    """Pick.

    Attributes:
        shape: Shape, or auto.
    """

    shape: tuple[Integer, Integer] | Literal["auto"] | None = None


def fit(*words: str) -> FitOptions:
    return parse(FitOptions, words, "x fit")


def problems(kind: type, *words: str) -> tuple[str, ...]:
    with raises() as caught:
        parse(kind, words, "x look")
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


@pytest.mark.parametrize(
    ("text", "expected"), [("2,3", (2, 3)), ("[-2, 3]", (-2, 3)), ("auto", "auto"), ("null", None)]
)
def test_a_list_or_a_word_needs_no_brackets(text: str, expected: object):
    assert parse(PickEither, ["--shape", text], "x").shape == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{name: a, args: {growth: 8}}", [{"name": "a", "args": {"growth": 8}}]),
        ("{name: a, args: {growth: 8}},b", [{"name": "a", "args": {"growth": 8}}, "b"]),
        ("[b, {name: a}]", ["b", {"name": "a"}]),
    ],
)
def test_mappings_and_names_of_a_list_need_no_brackets(text: str, expected: list[object]):
    assert parse(Compare, ["--networks", text], "x").networks == expected


def _unions_with_a_sequence() -> Iterator[Option]:
    """Options of all commands that take a tuple or list, or something else."""
    for command in COMMANDS.values():
        for option in syntax_of(getattr(options, command.options), "x").options:
            kind = plain_hint(option.hint)
            if get_origin(kind) is Union and any(get_origin(part) in (tuple, list) for part in get_args(kind)):
                yield option


def test_every_such_option_takes_commas():
    found = {option.name for option in _unions_with_a_sequence()}
    assert found == {"data.window"}
    words = ["--data.name", "folder", "--data.root", "x", "--data.window"]
    assert fit(*words, "1400,600").config.data.window == (1400, 600)
    assert fit(*words, "-600,1500").config.data.window == (-600, 1500)
    assert fit(*words, "file").config.data.window == "file"
    with raises("data.window", "wide"):
        fit(*words, "wide")


@pytest.mark.parametrize(
    ("option", "meant"), [("--lr", "--optim.lr"), ("--group_column", "--data.group_column"), ("--sede", "--seed")]
)
def test_a_nested_option_is_found_by_its_last_part(option: str, meant: str):
    with raises(option, meant):
        fit(option, "1")


def test_true_or_false_needs_no_value():
    assert fit("--grad_checkpointing").config.grad_checkpointing
    assert fit("--freeze_norms", "--epochs", "3").config.freeze_norms
    assert not fit("--grad_checkpointing", "false").config.grad_checkpointing
    for words in (["--pretrained", "fast"], ["fast", "--pretrained"], ["--pretrained", "true", "fast"]):
        assert parse(options.ModelsOptions, words, "skipweave models") == options.ModelsOptions("fast", pretrained=True)


def test_a_prediction_is_by_a_run_or_by_weights():
    both = problems(options.PredictOptions, "a.png", "--run", "runs/a", "--model", "a.safetensors")
    assert_each_reports(both, ("model", "a.safetensors", "--run"))


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
    ("words", "named"),
    [
        (["--epoch", "3"], ["--epoch", "--epochs"]),
        (["--modle.name", "a"], ["--modle.name", "--model.name"]),
        (["--model.args.", "a"], ["--model.args."]),
        (["--optim.lr.x", "a"], ["--optim.lr.x", "--optim.lr"]),
        (["--epochs", "many"], ["epochs", "'many'"]),
        (["--epochs", "1.5"], ["epochs", 1.5]),
        (["--epochs", "-3"], ["epochs", -3]),
        (["--devices", "99999"], ["devices", 99999]),
        (["--data.crop", "wide"], ["data.crop", "'wide'"]),
        (["--schedule.milestones", "half"], ["schedule.milestones[0]", "'half'"]),
        (["--epochs"], ["epochs"]),
        (["--config"], ["config"]),
        (["--print_config=yes"], ["--print_config"]),
        (["--model.args", "3"], ["model.args", 3]),
        (["--config", "none.yaml"], ["none.yaml"]),
        (["--resume", "none"], ["resume", "'none'"]),
        (["word"], ["word"]),
        (["-q"], ["-q"]),
        (["--data.name", "cifra10", "--data.root", "a"], ["data.name", "'cifra10'", "cifar10"]),
        (["--model", "my.yaml"], ["model", "'my.yaml'", "name, args"]),
    ],
)
def test_a_mistake_is_one_problem_that_names_field_and_value(words: list[str], named: list[object]):
    (problem,) = problems(FitOptions, *words)
    assert_reports(problem, *named)


def test_all_mistakes_in_words_and_files_are_reported(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(
        "modle: {name: a}\nschedule: {gamma: 2, decay: slow}\nloss: [1]\nbatch_size: 1.5\ndata: {name: cifra10}\n"
    )
    words = ["--epochs", "many", "--optim.lr=x", "--optm.lr", "1", "--model.name", "5", "--seed", "--devices", "2"]
    found = problems(FitOptions, "--config", str(tmp_path / "a.yaml"), *words)
    assert_each_reports(
        found,
        ("--optm.lr", "--optim.lr"),
        ("seed",),
        ("data.name", "'cifra10'", "cifar10"),
        ("optim.lr", "'x'"),
        ("schedule.gamma", 2),
        ("schedule.decay", "'slow'"),
        ("loss", [1]),
        ("epochs", "'many'"),
        ("batch_size", 1.5),
        ("modle", "model"),
        ("model", "'5'"),
    )


def test_all_mistakes_of_a_command_without_config_are_reported():
    found = problems(Look, "resnet18", "--size", "big", "--sise=3", "--args", "none")
    assert_each_reports(found, ("--sise", "--size"), ("size", "'big'"), ("args", "'none'"))


@pytest.mark.parametrize(
    ("kind", "words", "named"),
    [
        (Look, [], ["MODEL", "x look MODEL [OPTIONS]"]),
        (Look, ["--model", "a"], ["--model", "x look MODEL [OPTIONS]"]),
        (Look, ["a", "b", "c"], ["b c", "x look MODEL [OPTIONS]"]),
        (Gather, [], ["IMAGES", "x look IMAGES... [OPTIONS]"]),
        (Gather, ["--image", "a"], ["--image", "x look IMAGES... [OPTIONS]"]),
        (Pick, ["a", "b"], ["b", "x look [FILTER] [OPTIONS]"]),
        (Look, ["a", "--help.args"], ["--help.args", "--help"]),
        (Look, ["a", "--print_config"], ["--print_config"]),
    ],
)
def test_unexpected_words_are_reported_with_the_usage(kind: type, words: list[str], named: list[str]):
    assert_reports(problems(kind, *words)[0], *named)


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
    with raises("start", "hf-hub:user/repo"):
        parse(FitOptions, ["--config", str(file)], "skipweave fit")
    assert str(parse(FitOptions, ["--start", "hf-hub:user/repo"], "skipweave fit").config.start) == "hf-hub:user/repo"
