import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import skipweave_cli as cli
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_reports

Capture = pytest.CaptureFixture[str]

# Prints a config, then trains, both into a pipe.
UNREAD = """
import os
from skipweave_cli import main
pipe = os.dup(1)
assert main(["fit", "--print_config"]) == 0
os.dup2(pipe, 1)
assert main("fit --epochs 1 --batch_size 512 --model.args.units 1".split()) == 0
"""


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_the_overview_names_every_command(words: list[str], capsys: Capture):
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {command} " in shown for command in cli.COMMANDS)


def test_the_version_is_printed(capsys: Capture):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("skipweave ")


def test_an_unknown_command_is_reported_with_the_nearest(capsys: Capture):
    assert cli.main(["fitt"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert_reports(shown.err, "skipweave: error", "'fitt'", "fit", "models")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command: str, capsys: Capture):
    assert cli.main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: skipweave {command}")
    assert "--help" in shown


def test_an_error_is_one_line_and_status_2(monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    def fail(command: str, argv: list[str]) -> int:
        raise SkipweaveError("several\nlines  of text")

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["fit"]) == 2
    assert capsys.readouterr().err == "skipweave: error: several lines of text\n"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("fit --model my.yaml", ["model", "'my.yaml'"]),
        ("fit --data my.yaml", ["data", "'my.yaml'"]),
        ("fit --model.name my.yaml", ["model", "'my.yaml'"]),
        ("fit my.yaml", ["skipweave fit [OPTIONS]"]),
        ("study my.yaml", ["skipweave study [OPTIONS]"]),
        ("show my.yaml", ["'my.yaml'"]),
        ("show --model my.yaml", ["--model", "skipweave show MODEL"]),
        ("bench my.yaml", ["'my.yaml'"]),
        ("bench --model my.yaml", ["--model", "skipweave bench MODELS..."]),
    ],
)
def test_a_misplaced_config_file_is_reported_with_the_option(words: str, named: list[str], capsys: Capture):
    assert cli.main(words.split()) == 2
    shown = capsys.readouterr().err
    assert all(part in shown for part in (*named, "--config my.yaml"))


def test_a_name_in_place_of_a_config_is_reported_with_an_example(rejects: Callable[..., None]):
    rejects(["fit", "--model", "densenet40_12"], "model", "{name: densenet40_12}")
    assert cli.main(["fit", "--model", "{name: densenet40_12}", "--print_config"]) == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device", "runs/a.csv"), "runs/a.csv: No space left on device"),
        (OSError("odd"), "fit: odd"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_line_and_status_2(
    error: OSError, message: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    def fail(command: str, argv: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["fit"]) == 2
    assert capsys.readouterr().err == f"skipweave: error: {message}\n"


def test_a_closed_pipe_does_not_stop_training(tmp_path: Path):
    words = [sys.executable, "-u", "-c", UNREAD]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert len(list(tmp_path.glob("runs/*/summary.json"))) == 1


@pytest.mark.parametrize("save", ["there/picture", "there/folder/picture"])
@pytest.mark.parametrize("command", ["show densenet40_12 --save {}", "bench densenet40_12 --save {}.csv"])
def test_an_unwritable_output_is_reported_before_the_command_runs(
    command: str, save: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("there").touch()
    assert cli.main(command.format(save).split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert_reports(shown.err, "skipweave: error", "there")


def test_an_interrupt_has_exit_status_130(monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    def interrupt(command: str, argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupt)
    assert cli.main(["fit"]) == 130
    assert capsys.readouterr().err == "skipweave: stopped\n"


def test_python_m_skipweave_runs_the_command(monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    monkeypatch.setattr("sys.argv", ["skipweave", "fitt"])
    monkeypatch.delitem(sys.modules, "skipweave.__main__", raising=False)  # imported by another test
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("skipweave", run_name="__main__")
    assert ended.value.code == 2
    assert "'fitt'" in capsys.readouterr().err
