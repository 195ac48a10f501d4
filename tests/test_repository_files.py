"""Workflows, citation and version: what runs in public agrees with what is here."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.installed_packages import PROJECT, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def test_workflows_are_found():
    assert {path.stem for path in WORKFLOWS} == {"docs", "release", "tests", "weekly"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_with_their_version(workflow: Path):
    lines = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


def test_an_action_has_one_pin():
    pins = {step["uses"] for workflow in WORKFLOWS for step in steps(workflow) if "uses" in step}
    assert len(pins) == len({pin.split("@")[0] for pin in pins})


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_only_read_except_to_publish(workflow: Path):
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    writing = {name for name, job in content["jobs"].items() if "write" in job.get("permissions", {}).values()}
    assert writing <= {"publish"}
    assert all("timeout-minutes" in job for job in content["jobs"].values())


def test_the_tests_run_on_every_python_that_is_supported():
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]["test"]
    supported = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)]
    assert job["strategy"]["matrix"]["python"] == supported
    assert PROJECT["requires-python"] == f">={supported[0]}"


def test_the_files_and_targets_of_workflows_exist():
    commands = [step["run"] for workflow in WORKFLOWS for step in steps(workflow) if "run" in step]
    targets = set(re.findall(r"^([a-z.-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {target for command in commands for target in re.findall(r"\bmake ([\w-]+)", command)}
    assert {"test", "test-all"} <= asked <= targets
    files = {name for command in commands for name in re.findall(r"[\w/.-]+\.(?:py|md|toml|cff)\b", command)}
    assert files
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_the_citation_has_the_version_and_the_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == PROJECT["version"]
    cited = {entry["title"] for entry in citation["references"]}
    assert len(cited) == 5
    bibliography = (ROOT / "src" / "skipweave" / "study" / "report" / "papers.bib").read_text(encoding="utf-8")
    assert cited <= set(re.findall(r"^ *title *= *(.*),$", re.sub("[{}]", "", bibliography), re.MULTILINE))


def test_the_links_of_the_project_are_those_of_one_repository():
    source = PROJECT["urls"]["Source"]
    assert all(url.startswith((source, "https://skipweave.github.io/")) for url in PROJECT["urls"].values())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["repository-code"] == source
