from pathlib import Path

import pytest

from skipweave.data import DataConfig
from skipweave.training.run.loading import load_data
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_reports


@pytest.mark.parametrize(
    "config",
    [
        DataConfig(name="folder", root=Path("lost")),
        DataConfig(name="csv", labels=Path("lost/labels.csv")),
        DataConfig(name="masks", root=Path("lost")),
        DataConfig(name="cifar10", root=Path("lost")),
    ],
)
def test_data_that_has_moved_may_be_given_by_root(config: DataConfig):
    with pytest.raises(SkipweaveError) as caught:
        load_data(config)
    *_, advice = caught.value.problems
    assert_reports(advice, "lost", "--root")
    with pytest.raises(SkipweaveError) as caught:
        load_data(config, Path("gone"))
    assert "--root" not in str(caught.value)
