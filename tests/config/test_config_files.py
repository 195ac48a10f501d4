from pathlib import Path

import pytest

from skipweave_config.config_files import as_yaml, read
from skipweave_config.fit_config import FitConfig, ModelConfig
from skipweave_config.study_config import StudyConfig
from tests.errors import raises


@pytest.mark.parametrize(
    "config",
    [
        FitConfig(model=ModelConfig(args={"topology": "plain", "units": [1, 1, 2]}), epochs=7, max_memory="8GiB"),
        StudyConfig(output=Path("here"), match="macs", target="1.5M"),
    ],
)
def test_reading_is_the_inverse_of_writing(config, tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text(as_yaml(config))
    assert read(type(config), file) == config


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("epochs: [1", ("YAML",)),
        ("just words", ("config file",)),
        ("epohcs: 3", ("epohcs", "epochs")),
        ("epochs: many", ("epochs", "'many'")),
        ("epochs: 0", ("epochs", 0)),
        ("epochs: !!python/object/apply:os.getcwd []", ("os.getcwd",)),
        ("model: !!python/name:os.system", ("os.system",)),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(tmp_path: Path, text: str, named: tuple[object, ...]):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with raises(file, *named):
        read(FitConfig, file)


def test_a_missing_file_is_named(tmp_path: Path):
    with raises(tmp_path / "none.yaml"):
        read(FitConfig, tmp_path / "none.yaml")
