"""Run timm's own tests of models on the models of skipweave.

    git clone --depth 1 --branch v1.0.31 https://github.com/huggingface/pytorch-image-models
    python tests/upstream/timm_models.py pytorch-image-models [--models 'sparsenet*']

timm's file is imported as it is, with its list of models replaced by ours. What cannot pass is skipped, each with its
reason in EXCEPTIONS.
"""

import argparse
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import timm

import skipweave

#: Tests by name, models by pattern, and why they cannot pass.
EXCEPTIONS = (
    ("test_model_forward_torchscript*", "*", "TorchScript is deprecated in torch; exports use torch.export"),
    ("test_model_forward_fx", "delugenet*", "the traced network is equal to rounding, not to the last bit"),
    ("test_model_default_cfgs_non_std", "*", "for the models that test_model_default_cfgs leaves out"),
    ("test_model_*", "fc_*", "segmentation networks, which score every pixel"),
    ("test_model_forward_*features", "tutorial_*", "networks of two stages, of which timm wants three"),
    *(
        ("test_model_backward", model, "parameters without gradients: whitening filters and weights of norms are fixed")
        for model in ("airbench94", "resnet9_fast", "sparsenet_fast_*")
    ),
    *(
        ("test_model_forward", model, "400 and more layers overflow while running statistics are those of no training")
        for model in ("densenet400_12", "*1001*", "*2000*")
    ),
)


class OwnModels:
    """pytest plugin: timm's tests with our models."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)
        timm.list_models = self._list_models
        timm.list_pretrained = lambda *args, **options: []

    def _list_models(self, *args: Any, pretrained: bool = False, **options: Any) -> list[str]:
        return [] if pretrained else self._names

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip the exceptions, and tests of models of timm that the file names itself."""
        if not any(_model_of(item) in self._names for item in items):
            raise pytest.UsageError("no test has one of the models as its model_name")
        for item in items:
            test, model = item.name.partition("[")[0], _model_of(item)
            reason = _exception(test, model) or ("" if model in self._names else "a model of timm")
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def _exception(test: str, model: str) -> str:
    known = (why for tests, models, why in EXCEPTIONS if fnmatchcase(test, tests) and fnmatchcase(model, models))
    return next(known, "")


def _model_of(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("model_name", "")) if callspec else ""


def main() -> int:
    """Run the tests; return pytest's exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", type=Path, help="a clone of timm")
    parser.add_argument("--models", default="*", help="pattern of names")
    options, others = parser.parse_known_args()
    names = skipweave.list_models(options.models)
    quiet = ["-q", "-rs", "-W", "ignore", "-p", "no:cacheprovider", "-c", "/dev/null"]
    folder = ["--rootdir", str(options.clone)]
    return int(
        pytest.main(
            [*quiet, *folder, str(options.clone / "tests" / "test_models.py"), *others], plugins=[OwnModels(names)]
        )
    )


if __name__ == "__main__":
    sys.exit(main())
