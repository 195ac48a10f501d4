"""The page on what can be transformed says what happens."""

import pytest
import torch

from benchmarks.transforms import NETWORKS, PAGE, TRANSFORMS, outcome, page, rows
from tests.compress.transforms import assert_alike, shaken

QUICK = (
    "torchvision squeezenet1_1",
    "torchvision resnet18",
    "torchvision vit, small",
    "torchvision r3d_18",
    "timm mobilenetv3_small_050",
    "smp Linknet",
)
TABLE = rows(PAGE.read_text(encoding="utf-8"))


def test_every_network_has_a_row_and_every_refusal_a_reason() -> None:
    assert list(TABLE) == list(NETWORKS)
    assert len(TABLE) >= 60
    reasons = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("- ")]
    for name, cells in TABLE.items():
        for transform, cell in zip(TRANSFORMS, cells, strict=True):
            said = any(line.startswith(f"- {name}, `{transform}`: ") for line in reasons)
            assert said == (cell == "refused" and not (transform == "densify" and cells[0] == "refused"))


def test_rows_are_read_as_they_are_written() -> None:
    outcomes = {name: dict.fromkeys(TRANSFORMS, ("done", "")) for name in QUICK}
    assert rows(page(outcomes)) == {name: ["done"] * len(TRANSFORMS) for name in QUICK}


@pytest.mark.parametrize("name", QUICK)
def test_some_networks(name: str) -> None:
    assert [outcome(name, transform)[0] for transform in TRANSFORMS] == TABLE[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in QUICK])
def test_all_other_networks(name: str) -> None:
    assert [outcome(name, transform)[0] for transform in TRANSFORMS] == TABLE[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if "rcnn" not in name])  # whose scores lie too near
def test_outputs_of_networks_for_inference(name: str) -> None:
    """Compared apart from how the transform compares them, with statistics that fold to something."""
    torch.manual_seed(0)
    network = NETWORKS[name]
    model = shaken(network.make()).eval()
    _, fast = TRANSFORMS["optimize_for_inference"](model, network.size)
    images = torch.randn(3, *network.size)
    with torch.inference_mode():
        assert_alike(fast(images), model(images), values=True)
