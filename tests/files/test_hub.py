"""Weights from the Hugging Face Hub: only one file is requested; the Hub is mocked."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from skipweave.files.hub import local_weights
from skipweave_config.errors import SkipweaveError
from skipweave_config.shipped_weights import shipped_weights
from tests.errors import raises


class Hub:
    """Mock of the download: records requests, and returns a path or raises."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.fails: Exception | None = None

    def __call__(self, repository: str, file: str, *, revision: str | None) -> str:
        self.asked.append((repository, file, revision))
        if self.fails:
            raise self.fails
        return "/cache/model.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    return hub


@pytest.mark.parametrize(
    ("name", "repository", "revision"),
    [
        ("hf-hub:someone/birds", "someone/birds", None),
        ("hf-hub:some-one/birds_2.0@v1", "some-one/birds_2.0", "v1"),
        ("hf-hub:a/b@refs/pr/1", "a/b", "refs/pr/1"),
    ],
)
def test_one_file_is_downloaded(name: str, repository: str, revision: str | None, hub: Hub):
    assert local_weights(Path(name)) == Path("/cache/model.safetensors")
    assert hub.asked == [(repository, "model.safetensors", revision)]


@pytest.mark.parametrize("path", ["model.safetensors", "/a/hf-hub:b/c", "runs/x", "hf-hub", "hub:a/b"])
def test_paths_are_returned(path: str, hub: Hub):
    assert local_weights(Path(path)) == Path(path)
    assert hub.asked == []


@pytest.mark.parametrize(
    "name",
    ["hf-hub:", "hf-hub:birds", "hf-hub:a/b/c", "hf-hub:a/b@", "hf-hub:a b/c", "hf-hub:a/b@v 1", "hf-hub:a/b@v1@v2"],
)
def test_invalid_repository_names_raise(name: str, hub: Hub):
    with raises(name):
        local_weights(Path(name))
    assert hub.asked == []


def test_a_relative_repository_name_raises():
    with pytest.raises(SkipweaveError, match=r"\.\./\.\."):
        local_weights(Path("hf-hub:../.."))


@pytest.mark.parametrize("error", [OSError(28, "No space left"), ConnectionError("no\nroute"), ValueError()])
def test_a_failed_download_is_one_line(error: Exception, hub: Hub):
    hub.fails = error
    with raises("a/b"):
        local_weights(Path("hf-hub:a/b"))


@pytest.mark.parametrize(
    ("name", "listed"),
    [("sparsenet40_12", ["sparsenet40_12.mnist"]), ("sparsenet40_24", [*shipped_weights()])],
)
def test_a_model_is_no_file_of_weights(name: str, listed: list[str], hub: Hub, tmp_path: Path) -> None:
    with raises(name, "model.safetensors", *listed):
        local_weights(Path(name))
    assert local_weights(tmp_path / name) == tmp_path / name
    assert not hub.asked
