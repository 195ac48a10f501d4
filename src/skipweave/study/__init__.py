"""Train several networks under one recipe, and report which errs least for its cost."""

from skipweave.study.results import Results
from skipweave.study.runner import run_study
from skipweave_config.study_config import NetworkConfig, StudyConfig

__all__ = ["NetworkConfig", "Results", "StudyConfig", "run_study"]
