"""Run the encoder tests of segmentation_models_pytorch (SMP) on the models of skipweave.

    git clone --depth 1 https://github.com/qubvel-org/segmentation_models.pytorch
    pip install GitPython
    python tests/upstream/smp_encoders.py segmentation_models.pytorch [--models 'sparsenet*']

SMP's base class is imported as it is and gets one subclass per model. Encoders of SMP have maps at 1/2 to 1/32 of the
image: other models are listed. What cannot pass is skipped, each with its reason in EXCEPTIONS.
"""

import argparse
import sys
import unittest
from pathlib import Path

import torch

import skipweave
from skipweave_config.errors import SkipweaveError

#: Tests, and why they cannot pass.
EXCEPTIONS = {"test_torch_script": "TorchScript is deprecated in torch; exports use torch.export"}
REDUCTIONS = [2, 4, 8, 16, 32]


def is_encoder(name: str) -> bool:
    """Whether a model has maps at SMP's five resolutions."""
    try:
        with torch.device("meta"):
            return bool(skipweave.create_model(name, features_only=True).feature_info.reduction() == REDUCTIONS)
    except SkipweaveError:  # segmentation networks have no features_only
        return False


def has_dilation(name: str) -> bool:
    """Whether a model takes `output_stride`."""
    try:
        with torch.device("meta"):
            skipweave.create_model(name, output_stride=8)
    except SkipweaveError:
        return False
    return True


def tests_of(name: str, base: type) -> unittest.TestSuite:
    """SMP's tests with one of our models as the encoder."""
    skipped = {test: unittest.skip(why)(getattr(base, test)) for test, why in EXCEPTIONS.items()}
    case = type(name, (base,), {"encoder_names": [f"tu-{name}"], "supports_dilated": has_dilation(name), **skipped})
    return unittest.defaultTestLoader.loadTestsFromTestCase(case)


def main() -> int:
    """Run the tests; return 1 if one failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", type=Path, help="a clone of segmentation_models_pytorch")
    parser.add_argument("--models", default="*", help="pattern of names")
    options = parser.parse_args()
    sys.path.insert(0, str(options.clone))
    from tests.encoders.base import BaseEncoderTester

    names = skipweave.list_models(options.models)
    encoders = [name for name in names if is_encoder(name)]
    print(f"{len(encoders)} encoders; other resolutions: {', '.join(sorted({*names} - {*encoders}))}")
    suite = unittest.TestSuite(tests_of(name, BaseEncoderTester) for name in encoders)
    result = unittest.TextTestRunner().run(suite)
    return int(not encoders or not result.wasSuccessful())


if __name__ == "__main__":
    sys.exit(main())
