from pathlib import Path

import pytest

from skipweave_config.config_files import as_yaml, read
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig, ModelConfig
from skipweave_config.study_config import StudyConfig


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
    ("text", "part"),
    [
        ("epochs: [1", "not a YAML file"),
        ("just words", "not a config file"),
        ("epohcs: 3", "epohcs"),
        ("epochs: many", "epochs is 'many'"),
        ("epochs: 0", "epochs is 0"),
        ("epochs: !!python/object/apply:os.getcwd []", "not a YAML file"),
        ("model: !!python/name:os.system", "not a YAML file"),
    ],
)
def test_a_wrong_file_is_reported_in_one_line(tmp_path: Path, text: str, part: str):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(SkipweaveError) as caught:
        read(FitConfig, file)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(SkipweaveError) as caught:
        read(FitConfig, tmp_path / "none.yaml")
    assert str(tmp_path / "none.yaml") in str(caught.value)
