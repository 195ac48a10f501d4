"""docs/transforms_table.md matches the transforms."""

import pytest
import torch

from benchmarks.transforms import NETWORKS, PAGE, REFUSED, TRANSFORMS, outcome, page, rows
from tests.transforms.transforms import assert_alike, shaken

QUICK = (
    ("torchvision squeezenet1_1", "sparsify"),
    ("torchvision resnet18", "densify"),
    ("torchvision r3d_18", "depth_multiplier"),
    ("torchvision mnasnet0_5", "convert"),
    ("smp Linknet", "convert"),
    ("timm mobilenetv3_small_050", "optimize_for_inference"),
    ("torchvision vit, small", "depth_multiplier"),
)
TEXT = PAGE.read_text(encoding="utf-8")
TABLE = {name: dict(zip(TRANSFORMS, cells, strict=True)) for name, cells in rows(TEXT).items()}


def test_every_network_has_a_row_and_every_rejection_a_reason() -> None:
    assert list(TABLE) == list(NETWORKS)
    assert len(TABLE) >= 60
    for name, cells in TABLE.items():
        for transform, cell in cells.items():
            said = f"\n- {name}, `{transform}`: " in TEXT
            assert said == (cell == REFUSED and not (transform == "densify" and cells["sparsify"] == REFUSED))


def test_rows_are_read_as_they_are_written() -> None:
    outcomes = {name: dict.fromkeys(TRANSFORMS, ("done", "")) for name, _ in QUICK}
    assert rows(page(outcomes)) == {name: ["done"] * len(TRANSFORMS) for name in outcomes}


@pytest.mark.parametrize(("name", "transform"), QUICK)
def test_some_cells(name: str, transform: str) -> None:
    assert outcome(name, transform)[0] == TABLE[name][transform]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_all_cells(name: str) -> None:
    assert {transform: outcome(name, transform)[0] for transform in TRANSFORMS} == TABLE[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if "rcnn" not in name])  # whose scores lie too near
def test_outputs_of_networks_for_inference(name: str) -> None:
    """Compared outside of the transform, with statistics that fold to something."""
    torch.manual_seed(0)
    network = NETWORKS[name]
    model = shaken(network.make()).eval()
    _, fast = TRANSFORMS["optimize_for_inference"](model, network.size)
    images = torch.randn(3, *network.size)
    with torch.inference_mode():
        assert_alike(fast(images), model(images), values=True)
