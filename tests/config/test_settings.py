from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from skipweave.cli.parsing import call
from skipweave.config.settings import read
from skipweave.errors import SkipweaveError
from skipweave.training.fit_config import FitConfig, ModelConfig, as_plain


@dataclass(frozen=True)
class Several:
    """Settings with a list of settings."""

    models: list[ModelConfig] = field(default_factory=lambda: [ModelConfig("densenet40_12")])
    seeds: list[int] = field(default_factory=lambda: [0])


def parse(kind, *words):
    heard = []

    def command(config: kind):
        """Take settings."""
        heard.append(config)

    call(command, words, "x")
    return heard[0]


def test_no_words_give_the_defaults():
    assert parse(FitConfig) == FitConfig()


def test_later_words_win_over_the_file(tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_text("epochs: 4\nmodel: {name: densenet40_12, args: {units: [1, 2, 3]}}\noptim: {weight_decay: 1e-4}\n")
    config = parse(FitConfig, "--config", str(file), "--epochs", "5", "--model.args.growth", "8")
    assert config.epochs == 5
    assert config.model == ModelConfig("densenet40_12", {"units": [1, 2, 3], "growth": 8})
    assert config.optim.weight_decay == 1e-4


def test_mistakes_of_every_part_come_together():
    with pytest.raises(SkipweaveError) as caught:
        parse(FitConfig, "--epochs", "0", "--optim.lr=-1", "--data.name", "digit")
    for part in ("epochs is 0", "optim: lr is -1", "data: unknown data set 'digit'"):
        assert part in str(caught.value)


def test_lists_of_settings_are_made_too(tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_text("models: [{name: sparsenet40_12}, {name: densenet40_12, args: {growth: 2}}]\nseeds: [1, 2]\n")
    assert parse(Several, "--config", str(file)) == Several(
        [ModelConfig("sparsenet40_12"), ModelConfig("densenet40_12", {"growth": 2})], [1, 2]
    )
    assert parse(Several) == Several()


def test_reading_is_the_inverse_of_writing(tmp_path: Path):
    config = FitConfig(model=ModelConfig(args={"topology": "plain", "units": [1, 1, 2]}), epochs=7, output=tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(as_plain(config)))
    assert read(FitConfig, file) == config


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("epochs: [1", "not a YAML file"),
        ("just words", "holds no settings"),
        ("epohcs: 3", "epohcs"),
        ("epochs: many", "epochs"),
        ("epochs: 0", "epochs is 0"),
        ("epochs: !!python/object/apply:os.getcwd []", "not a YAML file"),
        ("model: !!python/name:os.system", "not a YAML file"),
    ],
)
def test_a_bad_file_is_told_in_one_line(tmp_path: Path, text: str, part: str):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(SkipweaveError, match=part) as caught:
        read(FitConfig, file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(SkipweaveError, match="cannot read"):
        read(FitConfig, tmp_path / "none.yaml")
