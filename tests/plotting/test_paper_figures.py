import numpy as np
import pytest
import torch

from skipweave.analysis.link_weights import cross_norms, group_maps, reuse_maps
from skipweave.models import create_model
from skipweave.plotting.paper_figures import KINDS, Value, plot, plots
from skipweave_config.errors import SkipweaveError

NETWORKS = {
    "sparsenet40_12": (dict(units=2, growth=1), {"connections", "reuse"}),
    "delugenet146": (dict(units=3, widths=1), {"connections", "norms"}),
    "seqresnet_k8_r4_n1": (dict(group_size=8, widening=1), {"connections", "groups"}),
    "preact_resnet56": (dict(units=1, widths=(1, 1, 1)), {"connections"}),
    "fc_densenet56": (dict(units=(1, 1, 1), growth=1), set()),
}


@pytest.mark.parametrize(("name", "has"), [(name, has) for name, (_, has) in NETWORKS.items()])
def test_a_network_has_some_plots_and_reasons_for_the_others(name, has):
    taken, reasons = plots(create_model(name, **NETWORKS[name][0]))
    assert {picture.kind for picture in taken} == has
    assert set(reasons) == set(KINDS) - has
    assert all(reasons.values())


def test_the_numbers_are_those_of_the_functions():
    torch.manual_seed(0)
    sparse = create_model("sparsenet40_12", units=3, growth=2)
    reuse = reuse_maps(sparse)
    for panel, reader, source, value in plot(sparse, "reuse").values:
        assert value == reuse[int(panel[-1]) - 1][source, reader - 1]
    assert len(plot(sparse, "reuse").values) == sum(np.isfinite(values).sum() for values in reuse)
    deluge = create_model("delugenet146", units=3, widths=2)
    deluge.stages[1].collect.weight.data.uniform_()
    assert (
        plot(deluge, "norms").values[3:]
        == tuple(
            Value(f"stage {stage + 1}", len(row), node, row[node])
            for stage, row in enumerate(cross_norms(deluge))
            for node in range(len(row))
        )[3:]
    )
    seq = create_model("seqresnet_k8_r4_n1", group_size=8, widening=1)
    values = {value[:3]: value.value for value in plot(seq, "groups").values}
    layer = next(found for found in group_maps(seq) if found.layer == "stages.1.units.0.first")
    assert layer.given == 4
    assert values["stages.1.units.0.first", 1, -3] == layer.values[0, 0]
    assert values["stages.1.units.0.first", 4, 3] == layer.values[3, 6]


def test_links_are_ones():
    plain = create_model("sparsenet40_12", units=1, growth=1, topology="plain")
    assert plot(plain, "connections").values == tuple(Value("all", node + 1, node, 1.0) for node in range(4))


def test_a_plot_has_a_title():
    figure = plot(create_model("sparsenet40_12", units=2, growth=1), "reuse").draw("a title")
    assert figure.get_suptitle() == "a title"
    with pytest.raises(SkipweaveError, match="'heat'"):
        plot(torch.nn.Conv2d(1, 1, 1), "heat")
