import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from skipweave.cli.parsing import call
from skipweave.errors import SkipweaveError
from skipweave.training import FitConfig, ScheduleConfig

heard: list[object] = []


def look(model: str, size: int = 3, args: dict[str, int] | None = None) -> None:
    """Look at a model.

    Args:
        model: its name.
        size: of the images.
        args: overrides.
    """
    heard.append((model, size, args))


def gather(*images: Path, top: int = 1) -> int:
    """Gather images.

    Args:
        images: files to gather.
        top: how many.
    """
    heard.append((images, top))
    return 7


def train(config: FitConfig, resume: Path | None = None) -> None:
    """Train."""
    heard.append((config, resume))


@pytest.fixture(autouse=True)
def silence():
    heard.clear()


def test_parameters_without_default_are_words_and_the_others_options():
    assert call(look, ["resnet18", "--size", "5", "--args.growth", "3"], "x look") == 0
    assert heard == [("resnet18", 5, {"growth": 3})]


def pick(sizes: Sequence[int] = (1,), shape: tuple[int, int] | None = None, name: str = "") -> None:
    """Pick."""
    heard.append((list(sizes), shape, name))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sizes", "8"], ([8], None, "")),
        (["--sizes=8,9"], ([8, 9], None, "")),
        (["--sizes", "[8, 9]", "--shape", "2,3"], ([8, 9], (2, 3), "")),
        (["--shape", "null", "--name", "4,5"], ([1], None, "4,5")),
    ],
)
def test_lists_need_no_brackets(words: list[str], expected: object):
    assert call(pick, words, "x pick") == 0
    assert heard == [expected]


def test_what_is_wrong_in_a_list_is_told():
    with pytest.raises(SkipweaveError, match=r"sizes is '8,x': expected a list, each a whole number"):
        call(pick, ["--sizes", "8,x"], "x pick")


def test_lists_in_settings_need_no_brackets_either():
    assert call(train, ["--schedule.milestones", "0.3,0.6"], "x train") == 0
    assert heard == [(FitConfig(schedule=ScheduleConfig(milestones=(0.3, 0.6))), None)]


def test_many_words_and_the_status_are_passed_on():
    assert call(gather, ["a.png", "b", "--top=2"], "x gather") == 7
    assert heard == [((Path("a.png"), Path("b")), 2)]


def test_no_words_leave_every_setting_as_it_is():
    assert call(train, [], "x train") == 0
    assert heard == [(FitConfig(), None)]


def test_help_shows_how_to_call_and_what_words_mean(capsys: pytest.CaptureFixture[str]):
    assert call(gather, ["--help"], "x gather") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: x gather IMAGES... [OPTIONS]\n\nGather images.\n")
    assert "files to gather" in shown
    assert heard == []


def test_a_config_is_spread_out(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("epochs: 3\n")
    call(train, ["--config", str(file), "--model.name", "resnet18", "--optim.lr", "0.5"], "x train")
    ((config, resume),) = heard  # type: ignore[misc]
    assert (config.epochs, config.model.name, config.optim.lr, resume) == (3, "resnet18", 0.5, None)


def test_the_settings_can_be_printed_and_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert call(train, ["--epochs", "4", "--print_config"], "x train") == 0
    (tmp_path / "a.yaml").write_text(capsys.readouterr().out)
    assert heard == []
    call(train, ["--config", str(tmp_path / "a.yaml")], "x train")
    assert heard == [(FitConfig(epochs=4), None)]


def test_a_run_to_resume_brings_its_settings(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("epochs: 3\nseed: 5\n")
    for words in (["--resume", str(tmp_path)], [f"--resume={tmp_path}"]):
        call(train, [*words, "--data.workers", "2"], "x train")
        config, resume = heard.pop()  # type: ignore[misc]
        assert (config.epochs, config.seed, config.data.workers, resume) == (3, 5, 2, tmp_path)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--epoch", "3"], r"unknown option --epoch: did you mean --epochs\? `x train --help` lists all"),
        (["--modle.name", "a"], r"did you mean --model\.name\?"),
        (["--epochs", "many"], r"^epochs is 'many': expected a whole number$"),
        (["--data.crop", "wide"], r"^data\.crop is 'wide': expected a whole number or null$"),
        (["--schedule.milestones", "half"], r"^schedule\.milestones is 'half': expected a list, each a number$"),
        (["--recompute"], r"^recompute has no value: expected true or false$"),
        (["--model.args", "3"], r"^model\.args is '3': expected a mapping of names, each with a plain value$"),
        (["--model.args.grwoth", "3"], r"^model: sparsenet40_12 has no argument grwoth \(did you mean growth\?\)"),
        (["--model.args.sparsify", "2"], r"^model: density is 2: expected a number with 0 < density <= 1$"),
        (["--epochs", "0", "--optim.lr", "0"], r"epochs is 0: .*; optim: lr is 0"),
        (["--config", "none.yaml"], "cannot read none.yaml: No such file"),
        (["--resume", "none"], r"not a run directory \(it has no config\.yaml\): none"),
        (["word"], "word"),
    ],
)
def test_a_mistake_is_told_in_one_line(words: list[str], part: str):
    with pytest.raises(SkipweaveError, match=part) as caught:
        call(train, words, "x train")
    assert "\n" not in str(caught.value)
    assert len(caught.value.problems) == 1 + (words == ["--epochs", "0", "--optim.lr", "0"])
    assert heard == []


def test_mistakes_in_words_and_in_files_are_told_together(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(
        "modle: {name: a}\nschedule: {gamma: 2, decay: slow}\nloss: [1]\nbatch_size: 1.5\ndata: {name: cifra10}\n"
    )
    words = ["--epochs", "many", "--optim.lr=x", "--optm.lr", "1", "--model.name", "sparsenet40_13", "--seed", "-1"]
    with pytest.raises(SkipweaveError) as caught:
        call(train, ["--config", str(tmp_path / "a.yaml"), *words], "x train")
    parts = [
        "unknown option --optm.lr: did you mean --optim.lr?",
        "epochs is 'many': expected a whole number",
        "optim.lr is 'x': expected a number",
        "unknown setting 'modle': did you mean model?",
        "model: unknown model 'sparsenet40_13': did you mean sparsenet40_12",
        "data: unknown data set 'cifra10': did you mean 'cifar10'?",
        "schedule: gamma is 2.0: expected above 0",
        "schedule: decay is 'slow': expected a number",
        "loss: found [1]: expected a mapping of settings",
        "batch_size is 1.5: expected a whole number",
    ]
    told = caught.value.problems
    assert [part for part in parts if not any(part in problem for problem in told)] == []
    assert len(told) == len(parts)


def test_all_mistakes_of_a_command_without_settings_are_told():
    with pytest.raises(SkipweaveError) as caught:
        call(look, ["resnet18", "--size", "big", "--sise=3", "--args", "none"], "x look")
    assert caught.value.problems == (
        "unknown option --sise: did you mean --size? `x look --help` lists all",
        "size is 'big': expected a whole number",
        "args is 'none': expected a mapping of names, each with a whole number, or null",
    )


def test_what_a_mistake_leaves_at_its_default_is_not_told(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("batch_size: x\ndevices: 5\ndata: {name: 3, crop: 4}\n")
    with pytest.raises(SkipweaveError) as caught:
        call(train, ["--config", str(tmp_path / "a.yaml")], "x train")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["data", "data", "batch_size is 'x'"]


def test_options_win_over_what_is_wrong_in_a_file(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("epochs: many\nmodel: {args: {units: 2, growth: wide}}\n")
    call(train, ["--config", str(tmp_path / "a.yaml"), "--epochs", "3", "--model.args.growth", "8"], "x train")
    ((config, _),) = heard  # type: ignore[misc]
    assert (config.epochs, config.model.args) == (3, {"units": 2, "growth": 8})


def test_no_import_path_is_followed(tmp_path: Path):
    """`antigravity` would open a browser."""
    spec = "{class_path: antigravity.Anything, init_args: {a: 1}}"
    (tmp_path / "a.yaml").write_text(f"model: {{args: {{topology: {spec}}}}}\nstart: {spec}\n")
    for words in (["--config", str(tmp_path / "a.yaml")], ["--model.args.topology", spec], ["--optim", spec]):
        with pytest.raises(SkipweaveError):
            call(train, words, "x train")
    assert "antigravity" not in sys.modules


def test_a_wrong_name_in_a_file_is_told_with_the_nearest(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("modle:\n  name: a\n")
    with pytest.raises(SkipweaveError, match=r"unknown setting 'modle': did you mean model\?"):
        call(train, ["--config", str(file)], "x train")


@pytest.mark.parametrize(
    ("command", "words", "told"),
    [
        (look, [], "MODEL is missing: expected `x look MODEL [OPTIONS]`"),
        (gather, [], "IMAGES is missing: expected `x gather IMAGES... [OPTIONS]`"),
        (look, ["a", "b", "c"], "unexpected b c: expected `x look MODEL [OPTIONS]`"),
        (look, ["a", "-q"], "unexpected -q: expected `x look MODEL [OPTIONS]`"),
        (train, ["word"], "unexpected word: expected `x look [OPTIONS]`"),
        (pick, ["--sizes+", "3"], "unknown option --sizes+: did you mean --sizes? `x look --help` lists all"),
        (look, ["a", "--size.big", "3"], "unknown option --size.big: did you mean --size? `x look --help` lists all"),
        (look, ["a", "--help.args"], "unknown option --help.args: did you mean --help? `x look --help` lists all"),
        (train, ["--config"], "config has no value: expected a YAML file"),
    ],
)
def test_words_and_options_are_told_in_our_own_words(command, words: list[str], told: str):
    with pytest.raises(SkipweaveError) as caught:
        call(command, words, "x look" if command is not gather else "x gather")
    assert caught.value.problems == (told,)
    assert heard == []


@pytest.mark.parametrize("command", [look, gather, pick, train])
@pytest.mark.parametrize("option", ["--print_shtab", "--print_completion", "--print_config+", "--sizes+", "--help+"])
def test_options_that_the_parser_brings_along_are_unknown(command, option: str):
    for words in ([option], [option, "bash"], [f"{option}=bash"]):
        with pytest.raises(SkipweaveError, match=r"unknown option --"):
            call(command, ["a", *words], "x look")
    assert heard == []


@pytest.mark.parametrize("command", [look, gather, pick, train])
def test_the_help_has_no_words_of_the_parser(command, capsys: pytest.CaptureFixture[str]):
    assert call(command, ["--help"], "x look") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for foreign in (
        "shtab",
        "import path",
        "<class",
        "Union[",
        "Optional[",
        "Sequence[",
        "+ [ITEM",
        "configuration file",
    ):
        assert foreign not in shown
    assert "type: " in shown


def test_numbers_for_an_argument_of_a_model_need_no_brackets():
    call(
        train, ["--model.args.units", "1,2,3", "--model.args.growth=4,5,6", "--model.args.topology", "dense"], "x train"
    )
    ((config, _),) = heard  # type: ignore[misc]
    assert config.model.args == {"units": [1, 2, 3], "growth": [4, 5, 6], "topology": "dense"}


def test_one_mistake_is_told_once():
    for words in (["--epochs", "-3"], ["--devices", "99999"], ["--epochs", "0", "--loss.last_epochs", "0"]):
        with pytest.raises(SkipweaveError) as caught:
            call(train, words, "x train")
        assert len(caught.value.problems) == 1
