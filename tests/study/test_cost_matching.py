import pytest
import torch

from skipweave.models import create_model
from skipweave.study.cost_matching import largest_within, match_cost
from skipweave.training.model_building import count_parameters
from tests.errors import raises


def build(name):
    def made(**args):
        with torch.device("meta"):
            return create_model(name, **args)

    return made


def matched(name, target, **args):
    return match_cost(name, args, build(name), count_parameters, target)


@pytest.mark.parametrize("target", [1, 2, 3, 4, 5, 63, 64, 65, 1000])
def test_largest_within_is_exact(target):
    assert largest_within(lambda scale: scale**2, target) == int(target**0.5)


def test_the_search_asks_few_costs():
    asked = []
    largest_within(lambda scale: asked.append(scale) or scale, 10**6)
    assert len(asked) < 45


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("sparsenet40_24", 60_000),
        ("densenet40_12", 30_000),
        ("logdensenet_v1_12_16", 40_000),
        ("fc_densenet103", 90_000),
    ],
)
def test_growth_is_the_nearest_of_all(name, target):
    units = [3] * 5 if name == "fc_densenet103" else 3
    args = matched(name, target, units=units)
    costs = {growth: count_parameters(build(name)(units=units, growth=growth)) for growth in range(1, 40)}
    assert args == {"units": units, "growth": min(costs, key=lambda growth: (abs(costs[growth] - target), growth))}


def test_widths_of_sums_keep_their_proportions():
    args = matched("preact_resnet56", 60_000, units=2)
    quarter, half, whole = args["widths"]
    assert (quarter, half) == (round(whole / 4), round(whole / 2))
    errors = {}
    for w in (whole - 1, whole, whole + 1):
        widths = [round(w / 4), round(w / 2), w]
        errors[w] = abs(count_parameters(build("preact_resnet56")(units=2, widths=widths)) - 60_000)
    assert min(errors, key=errors.get) == whole


def test_widening_is_the_nearest_of_all():
    args = matched("seqresnet_k8_r4_n1", 400_000, group_size=16)
    costs = {r: count_parameters(build("seqresnet_k8_r4_n1")(group_size=16, widening=r)) for r in range(1, 6)}
    assert args == {"group_size": 16, "widening": min(costs, key=lambda r: abs(costs[r] - 400_000))}
    with raises("seqresnet_k8_r4_n1", "widths"):
        matched("seqresnet_k8_r4_n1", 400_000, widths=(16, 32, 64))


def test_growth_per_stage_keeps_its_proportions():
    growth = matched("sparsenet40_24", 200_000, units=3, growth=[8, 16, 32])["growth"]
    assert growth == [round(growth[2] / 4), round(growth[2] / 2), growth[2]]


def test_no_stage_is_scaled_to_zero():
    assert matched("sparsenet40_24", 2_000, units=1, growth=[1, 1, 40])["growth"][:2] == [1, 1]


def test_any_cost_can_be_matched():
    def links_times_growth(model):
        return 10 * model.stages[0].widths[-1]

    assert match_cost("n", {"units": 2}, build("sparsenet40_24"), links_times_growth, 74) == {"units": 2, "growth": 7}
    assert match_cost("n", {"units": 2}, build("sparsenet40_24"), links_times_growth, 75) == {"units": 2, "growth": 7}
    assert match_cost("n", {"units": 2}, build("sparsenet40_24"), links_times_growth, 76) == {"units": 2, "growth": 8}


def test_a_target_below_the_smallest_raises():
    with raises("sparsenet40_24", 100, "growth 1"):
        matched("sparsenet40_24", 100)


def test_a_network_without_growth_or_widths_raises():
    with raises("resnet18", "growth", "widening", "widths"):
        matched("resnet18", 10**6)
