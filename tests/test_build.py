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


def test_without_a_compiler_the_build_returns_the_reason(hook, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "$CC" in hook.build()
    assert not hook.LIBRARY.exists()


@pytest.mark.parametrize("command", ["false", "no-such-compiler"])
def test_a_failing_compiler_leaves_no_files(hook, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("CC", command)
    assert hook.build()
    assert not hook.LIBRARY.exists()


def test_the_hook_configures_hatchling(hook, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(
        hook.NativeBuildHook, "app", type("App", (), {"display_warning": warnings.append}), raising=False
    )
    monkeypatch.setattr(hook.NativeBuildHook, "root", str(hook.LIBRARY.parent), raising=False)
    builder = object.__new__(hook.NativeBuildHook)
    for problem in ("no compiler", ""):
        monkeypatch.setattr(hook, "build", lambda problem=problem: problem)
        data: dict[str, object] = {"artifacts": []}
        builder.initialize("editable", data)
        if problem:
            assert data == {"artifacts": []}
            (warning,) = warnings
            assert problem in warning
        else:
            assert data["artifacts"] == ["/library.so"]
            assert data["pure_python"] is False
            assert data["tag"].startswith("py3-none-")


@pytest.mark.parametrize(
    ("system", "machine", "target", "tag"),
    [
        ("linux", "x86_64", None, "linux_x86_64"),
        ("linux", "aarch64", "11.0", "linux_aarch64"),
        ("darwin", "arm64", None, "macosx_15_0_arm64"),
        ("darwin", "arm64", "11.0", "macosx_11_0_arm64"),
        ("darwin", "x86_64", "10.15", "macosx_10_15_x86_64"),
    ],
)
def test_the_platform_of_a_wheel(
    hook, monkeypatch: pytest.MonkeyPatch, system: str, machine: str, target: str | None, tag: str
) -> None:
    """No version of glibc on Linux; on macOS the oldest version that the compiler builds for."""
    monkeypatch.setattr(hook.sys, "platform", system)
    monkeypatch.setattr(hook.sysconfig, "get_platform", lambda: f"linux-{machine}")
    monkeypatch.setattr(hook.platform, "machine", lambda: machine)
    monkeypatch.setattr(hook.platform, "mac_ver", lambda: ("15.6.1", ("", "", ""), machine))
    monkeypatch.delenv("MACOSX_DEPLOYMENT_TARGET", raising=False)
    if target:
        monkeypatch.setenv("MACOSX_DEPLOYMENT_TARGET", target)
    assert hook.platform_tag() == tag


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no compiler")
def test_the_library_is_built(hook) -> None:
    assert hook.build() == ""
    assert hook.LIBRARY.stat().st_size > 0
    assert os.listdir(hook.LIBRARY.parent) == ["library.so"]
