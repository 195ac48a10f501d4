"""What `compile` chooses, and runs of compiled networks against the same runs without."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial, partialmethod
from pathlib import Path

import pytest
import torch
from torch import nn

from skipweave.models import create_model
from skipweave.ops.cpu import c_library
from skipweave.training import FitConfig, ModelConfig, OptimConfig, fit
from skipweave.training import compilation as module
from skipweave.training.auxiliary_heads import AllHeads
from skipweave.training.callbacks import Callback
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.compilation import ENOUGH_STEPS, check_compiler, resolve
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.learner import Learner
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.task import Classification
from skipweave.transforms.regional_compilation import compile_units
from skipweave_config.recipe import DensifyConfig, EmaConfig, MixConfig
from tests.errors import raises

Graphs = list[torch.fx.GraphModule]
HALF = FitConfig(precision="bf16-mixed")
CPU = torch.device("cpu")


class StoppedError(Exception):
    """Raised by `StopAfter`."""


class StopAfter(Callback):
    """Stop a run after a number of steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_step_end(self, epoch: int, step: int) -> None:
        """Count down."""
        self.left -= 1
        if not self.left:
            raise StoppedError


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    """The graphs that are compiled, and run as they are."""
    seen: Graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        seen.append(graph)
        return graph.forward

    use(backend, monkeypatch)
    return seen


def use(backend: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(AllHeads, "compile", partialmethod(nn.Module.compile, backend=backend))
    monkeypatch.setattr(module, "compile_units", partial(compile_units, backend=backend))


@pytest.fixture
def summing() -> nn.Module:
    """A network whose nodes are summed, not concatenated."""
    return create_model("preact_resnet56", units=1, widths=(2, 2, 2))


@pytest.mark.parametrize(
    ("changes", "device", "steps", "mode"),
    [
        ({}, "cpu", ENOUGH_STEPS, "network"),
        ({}, "cpu", ENOUGH_STEPS - 1, "none"),
        ({}, "cuda", ENOUGH_STEPS, "none"),
        ({"precision": "32-true"}, "cpu", ENOUGH_STEPS, "none"),
        ({"compile": "units", "precision": "32-true"}, "cuda", 1, "units"),
        ({"compile": "network"}, "cpu", 1, "network"),
        ({"compile": "none"}, "cpu", ENOUGH_STEPS, "none"),
    ],
)
def test_what_is_compiled(summing: nn.Module, changes: dict[str, str], device: str, steps: int, mode: str) -> None:
    config, _ = resolve(replace(HALF, **changes), summing, device=torch.device(device), steps=steps)
    assert config == replace(HALF, **{**changes, "compile": mode})


@pytest.mark.parametrize(("name", "by_library"), [("sparsenet40_24", "none"), ("delugenet146", "network")])
def test_networks_concatenated_by_the_c_library_are_not_compiled(
    name: str, by_library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = create_model(name, units=2)
    for problem, mode in (("", by_library), ("not built", "network")):
        monkeypatch.setattr(c_library, "library", lambda problem=problem: c_library.Library(Path(), problem))
        assert resolve(HALF, network, device=CPU, steps=ENOUGH_STEPS)[0].compile == mode


@pytest.mark.parametrize("name", ["sparsenet_fast_64", "airbench94", "vgg16n"])
def test_networks_with_max_pools_are_not_compiled(name: str) -> None:
    with torch.device("meta"):
        network = create_model(name)
    assert resolve(HALF, network, device=CPU, steps=ENOUGH_STEPS)[0].compile == "none"


@pytest.mark.parametrize("mode", ["auto", "units", "network"])
def test_densified_networks_are_not_compiled(summing: nn.Module, mode: str) -> None:
    model = ModelConfig("sparsenet40_24", {"sparsify": 0.1})
    config = replace(HALF, model=model, densify=DensifyConfig(every=5), compile=mode)
    resolved, note = resolve(config, summing, device=CPU, steps=ENOUGH_STEPS)
    assert resolved.compile == "none"
    assert bool(note) == (mode != "auto")


def test_without_a_compiler(summing: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "compiler_problem", lambda _: "torch.compile needs a C++ compiler")
    config, note = resolve(HALF, summing, device=CPU, steps=ENOUGH_STEPS)
    assert config.compile == "none"
    assert note
    for mode in ("auto", "none"):
        check_compiler(mode, CPU)
    with raises("compile", "network"):
        check_compiler("network", CPU)


def step(changes: dict[str, object], args: dict[str, object]) -> dict[str, torch.Tensor]:
    """The weights of a network and its average after two steps in float64."""
    args = {"units": 1, "growth": 4, **args}
    model = ModelConfig("sparsenet40_24", args)
    config = FitConfig(model, accelerator="cpu", **changes)
    learner = Learner(
        make_fabric("cpu", precision="64-true"), config, {**args, "num_classes": 5, "in_chans": 3}, Classification(5)
    )
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 8, 8), torch.randint(5, (8,))
    learner.start_epoch()
    for _ in range(2):
        for part in range(config.optim.accumulate):
            learner.backward(images, labels, learner.loss_weights(0), part + 1 == config.optim.accumulate)
        learner.optimizer_step(0.1)
    return deepcopy(learner.state()[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["network", pytest.param("units", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("changes", "args"),
    [
        pytest.param({"freeze": "stem", "freeze_norms": True}, {}, marks=pytest.mark.slow, id="frozen"),
        pytest.param({"grad_checkpointing": True}, {}, marks=pytest.mark.slow, id="checkpointed"),
        pytest.param(
            {"ema": EmaConfig(decay=0.5), "mix": MixConfig(mixup=0.2), "optim": OptimConfig(accumulate=2)},
            {"heads": "stages"},
            id="averaged with exits",
        ),
    ],
)
def test_compiled_steps_are_equal(
    mode: str, changes: dict[str, object], args: dict[str, object], graphs: Graphs
) -> None:
    expected = step(changes, args)
    assert not graphs
    torch.testing.assert_close(step({**changes, "compile": mode}, args), expected, rtol=1e-6, atol=1e-9)
    assert graphs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_evaluation_is_not_compiled_and_resumed_runs_are_equal(tiny: Callable[..., FitConfig], graphs: Graphs) -> None:
    """Validation ends with a smaller batch."""
    model = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4})
    config = tiny(compile="network", epochs=2, model=model, checkpoint_every=1)
    whole = RunDirectory(fit(config).run_dir)
    assert len(graphs) == 1
    with pytest.raises(StoppedError):
        fit(config, callbacks=[StopAfter(13)])
    (run,) = (path for path in config.output.iterdir() if path != whole.path)
    resumed = RunDirectory(fit(config, resume=run).run_dir)
    assert open_saved(resumed.weights).info["sha256"] == open_saved(whole.weights).info["sha256"]


@pytest.mark.filterwarnings("ignore")
def test_failures_of_the_compiler_are_reported(tiny: Callable[..., FitConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(*_: object) -> None:
        raise ValueError("no such instruction")

    use(backend, monkeypatch)
    with raises("compile", "network"):
        fit(tiny(compile="network"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_code_of_the_compiler_is_kept(tiny: Callable[..., FitConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch._dynamo.reset()
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4})
    fit(tiny(compile="units", precision="bf16-mixed", epochs=1, model=model))
    assert any((tmp_path / "skipweave" / "inductor").iterdir())
