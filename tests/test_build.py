"""The build of the C library: with a compiler, without one, and with one that fails."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path):
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LIBRARY", tmp_path / "library.so")
    monkeypatch.delenv("CC", raising=False)
    return module


def test_without_a_compiler_it_says_so_and_goes_on(hook, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hook.build() == "no C compiler was found (cc, gcc, clang or $CC)"
    assert not hook.LIBRARY.exists()


@pytest.mark.parametrize("command", ["false", "no-such-compiler"])
def test_a_compiler_that_fails_leaves_nothing_behind(hook, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("CC", command)
    assert hook.build().startswith("the C compiler failed")
    assert not hook.LIBRARY.exists()


def test_the_hook_tells_hatchling(hook, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(hook.NativeBuildHook, "app", type("App", (), {"display_warning": told.append}), raising=False)
    monkeypatch.setattr(hook.NativeBuildHook, "root", str(hook.LIBRARY.parent), raising=False)
    builder = object.__new__(hook.NativeBuildHook)
    for problem in ("no compiler", ""):
        monkeypatch.setattr(hook, "build", lambda problem=problem: problem)
        data: dict[str, object] = {"artifacts": []}
        builder.initialize("editable", data)
        if problem:
            assert (data, told) == ({"artifacts": []}, ["skipweave goes without its C library: no compiler"])
        else:
            assert data["artifacts"] == ["/library.so"]
            assert data["pure_python"] is False
            assert data["tag"].startswith("py3-none-")


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no compiler")
def test_with_a_compiler_it_is_built(hook) -> None:
    assert hook.build() == ""
    assert hook.LIBRARY.stat().st_size > 0
    assert os.listdir(hook.LIBRARY.parent) == ["library.so"]
