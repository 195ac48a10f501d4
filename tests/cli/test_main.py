import subprocess
import sys
from pathlib import Path

import pytest

from skipweave import cli
from skipweave.errors import SkipweaveError

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_the_overview_names_every_command(words: list[str], capsys: Capture):
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {command} " in shown for command in cli.COMMANDS)


def test_the_version_is_told(capsys: Capture):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("skipweave ")


def test_an_unknown_command_is_told_with_the_nearest(capsys: Capture):
    assert cli.main(["fitt"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("skipweave: error: unknown command 'fitt': did you mean fit? commands: models")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command: str, capsys: Capture):
    assert cli.main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: skipweave {command}")
    assert "--help" in shown


def test_a_users_mistake_is_one_line_and_status_2(monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    def fail(command: str, argv: list[str]) -> int:
        raise SkipweaveError("several\nlines  of text")

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["fit"]) == 2
    assert capsys.readouterr().err == "skipweave: error: several lines of text\n"


def test_interrupted_means_status_130(monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    def interrupt(command: str, argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupt)
    assert cli.main(["fit"]) == 130
    assert capsys.readouterr().err == "skipweave: stopped\n"


def test_python_m_skipweave_is_the_same(tmp_path: Path):
    done = subprocess.run([sys.executable, "-m", "skipweave", "fitt"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean fit?" in done.stderr
