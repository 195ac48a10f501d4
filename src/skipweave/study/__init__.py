"""Train several networks under one recipe, and report which errs least for its cost."""

from skipweave.study.config import NetworkConfig, StudyConfig
from skipweave.study.results import Results
from skipweave.study.runner import run_study

__all__ = ["NetworkConfig", "Results", "StudyConfig", "run_study"]
