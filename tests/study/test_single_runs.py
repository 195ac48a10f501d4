from pathlib import Path

import pytest

from skipweave.files.folder_lock import held
from skipweave.study.runner import run_study
from skipweave.study.single_runs import planned_runs, read_plan, run_single, status_of, write_plan
from skipweave_config.errors import SkipweaveError
from tests.study.finished_studies import assert_nothing_was_done_twice, results_of, study_config, weights_of


def test_runs_done_one_by_one_are_the_study(tmp_path: Path):
    config = study_config(tmp_path / "single", seeds=2, epochs=1)
    write_plan(config)
    plan = read_plan(config.output)
    names = [(run.index, run.network.label, run.seed) for run in planned_runs(plan)]
    assert names == [(0, "growth 2", 0), (1, "growth 3", 0), (2, "growth 2", 1), (3, "growth 3", 1)]
    for index in (2, 0, 3, 1):
        assert status_of(plan)[index].state == "left"
        run_single(plan, index)
        assert (status_of(plan)[index].state, status_of(plan)[index].epochs) == ("done", 1)
    before = weights_of(config.output)
    assert run_single(plan, 2).epochs == 1  # done already
    run_study(plan)
    run_study(study_config(tmp_path / "whole", seeds=2, epochs=1, processes=1))
    assert results_of(tmp_path / "single") == results_of(tmp_path / "whole")
    assert before == weights_of(tmp_path / "single") == weights_of(tmp_path / "whole")
    assert_nothing_was_done_twice(tmp_path / "single", 4)


def test_a_run_in_another_process_is_running(tmp_path: Path):
    config = study_config(tmp_path / "study", seeds=1, epochs=1)
    write_plan(config)
    place = config.output / "runs" / "growth-2" / "seed-0"
    place.mkdir(parents=True)
    with held(place):
        assert [status.state for status in status_of(config)] == ["running", "left"]
    assert [status.state for status in status_of(config)] == ["left", "left"]


@pytest.mark.parametrize("index", [2, 10**6])
def test_a_run_that_is_not_planned_is_an_error(tmp_path: Path, index: int):
    with pytest.raises(SkipweaveError, match=f"index is {index}: expected 0 to 1"):
        run_single(study_config(tmp_path, seeds=1, epochs=1), index)


def test_a_directory_without_a_plan_is_an_error(tmp_path: Path):
    with pytest.raises(SkipweaveError, match=r"config\.yaml"):
        read_plan(tmp_path)
