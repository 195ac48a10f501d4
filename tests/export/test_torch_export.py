"""`torch.export` of the networks: only torch operators, dynamic batch size, equal outputs."""

import pytest
import torch

from tests.export.networks import LABEL_PIXELS, quick, trained

QUICK = ("sparsenet, sparse in blocks", "deluge", "fc_logdensenet")


@pytest.mark.parametrize("name", quick(*QUICK))
def test_an_exported_network_gives_the_same_outputs(name: str):
    network, _ = trained(name)
    free = (0, 2, 3) if name in LABEL_PIXELS else (0,)
    dynamic = (dict.fromkeys(free, torch.export.Dim.DYNAMIC),)
    program = torch.export.export(
        network, (torch.zeros(2, 3, 32, 48 if len(free) > 1 else 32),), dynamic_shapes=dynamic
    )
    called = {str(node.target).partition(".")[0] for node in program.graph.nodes if node.op == "call_function"}
    assert "aten" in called
    assert "skipweave" not in called
    for size in ((3, 3, 32, 32), (1, 3, 35, 41) if len(free) > 1 else (5, 3, 32, 32)):
        images = torch.randn(size)
        with torch.inference_mode():
            wanted, made = network(images), program.module()(images)
        torch.testing.assert_close(made, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
