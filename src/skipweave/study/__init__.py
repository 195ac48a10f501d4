"""Studies: several networks trained by one recipe and compared by metric and cost."""

from skipweave.study.results import Results
from skipweave.study.runner import run_study
from skipweave_config.study_config import NetworkConfig, StudyConfig

__all__ = ["NetworkConfig", "Results", "StudyConfig", "run_study"]
