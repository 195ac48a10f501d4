"""Networks that train fast: counts, identity initialization, whitening, fixed scales."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import skipweave
from skipweave.analysis.profile import profile
from skipweave.layers import WhiteningStem
from tests.errors import raises


def parameters(growths: list[int], reads: list[list[int]]) -> int:
    """Parameters of a network with the 24 channels of the stem and entries of 1, 2 and 2 times the growth.

    Args:
        growths: Growth of each stage.
        reads: For each unit of a stage, and its reader, the widths that it reads in multiples of the growth; the entry
            counts as 1 in the first stage and as 2 in the others.
    """
    total, width = 24 * 12 + 24, 24
    for stage, growth in enumerate(growths):
        entry = growth * (2 if stage else 1)
        kernel = 1 if stage else 9
        inputs = [sum(entry if node == 0 else growth for node in sources) for sources in reads]
        total += kernel * width * entry + 2 * entry  # and norms
        total += sum(9 * read * growth + 2 * growth for read in inputs[:-1])
        width = inputs[-1]
    return total + 10 * width


READS = {
    "plain": [[0], [1], [2], [3]],
    "exponential": [[0], [1, 0], [2, 1], [3, 2, 0]],
    "dense": [[0], [1, 0], [2, 1, 0], [3, 2, 1, 0]],
}


@pytest.mark.parametrize(
    ("topology", "count"), [("plain", 1_357_880), ("exponential", 2_451_256), ("dense", 3_128_376)]
)
def test_parameters_of_a_topology(topology: str, count: int) -> None:
    with torch.device("meta"):
        model = skipweave.create_model("sparsenet_fast_64", topology=topology)
    assert sum(p.numel() for p in model.parameters()) == count == parameters([64, 128, 128], READS[topology])


def test_parameters_and_operations_of_the_variants() -> None:
    with torch.device("meta"):
        models = {
            name: skipweave.create_model(name) for name in ("sparsenet_fast_64", "sparsenet_fast_96", "airbench94")
        }
        counts = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    assert counts["sparsenet_fast_96"] == parameters([96, 192, 192], READS["exponential"])
    convs = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256) + 24 * 12
    assert counts["airbench94"] == convs + 24 + 2 * 2 * (64 + 256 + 256) + 10 * 256
    macs = 31**2 * (24 * 12 + 9 * 24 * 64)
    macs += (
        15**2 * (9 * 64 * 64 * 5 + 192 * 256) + 7**2 * (9 * 128 * 128 * 7 + 512 * 256) + 3**2 * 9 * 128 * 128 * 7 + 5120
    )
    assert profile(models["sparsenet_fast_64"], (3, 32, 32)).macs == macs


def images(count: int = 200) -> Tensor:
    """Images whose neighboring pixels and channels are correlated."""
    noise = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return functional.avg_pool2d(noise, 3, 1) + 0.5 * noise[:, :1, 1:-1, 1:-1] + 1


def patches(x: Tensor) -> Tensor:
    return functional.unfold(x.double(), 2).transpose(0, 1).flatten(1)


def test_whitened_patches_are_uncorrelated() -> None:
    stem, x = WhiteningStem(3).double(), images()
    stem.whiten(x.split(70), eps=0)
    maps = stem.conv(x.double())
    covariance = torch.cov(maps.transpose(0, 1).flatten(1), correction=0)
    torch.testing.assert_close(covariance[:12, :12], torch.eye(12, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(maps[:, 12:], -maps[:, :12])
    variances = torch.linalg.eigvalsh(torch.cov(patches(x), correction=0))
    norms = stem.conv.weight[:12].flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, variances.flip(0).rsqrt())  # the largest variance first


def test_eps_bounds_the_amplification() -> None:
    stem, x = WhiteningStem(3).double(), torch.ones(2, 3, 5, 5)
    stem.whiten([x], eps=0.01)
    torch.testing.assert_close(stem.conv.weight.flatten(1).norm(dim=1), torch.full((24,), 10, dtype=torch.float64))


@pytest.mark.parametrize("alpha", [0.5, 1.5])
def test_stems_of_another_width_are_whitened(alpha: float) -> None:
    """Those of largest variance, and their negatives; there are twelve."""
    model = skipweave.create_model("sparsenet_fast_64", growth=4)
    other = skipweave.depth_multiplier(model, alpha, rule="ceil", input_size=(3, 32, 32)).model
    for each in (model, other):
        each.initialize_from_images([images()])
    whole, part = model.stem.conv.weight, other.stem.conv.weight
    kept = min(12, len(part) // 2)
    torch.testing.assert_close(part[: 2 * kept], torch.cat([whole[:kept], whole[12 : 12 + kept]]))


def test_filters_of_images_with_fewer_channels_are_repeated() -> None:
    model = skipweave.create_model("sparsenet_fast_64", growth=4, in_chans=1)
    model.initialize_from_images([images()[:, :1]])
    filters = model.stem.conv.weight
    assert filters.shape == (24, 1, 2, 2)
    assert torch.equal(filters, filters[:8].repeat(3, 1, 1, 1))


def test_whitening_needs_images() -> None:
    with raises("no images"):
        WhiteningStem(3).whiten([])


def test_before_whitening_filters_are_single_pixels() -> None:
    stem, x = WhiteningStem(2), torch.randn(3, 2, 6, 6)
    torch.testing.assert_close(stem.conv(x)[:, :8].flatten(2), functional.unfold(x, 2))


@pytest.mark.parametrize("topology", ["exponential", "dense", "plain"])
def test_units_pass_the_newest_node_on(topology: str) -> None:
    torch.manual_seed(0)
    stage = skipweave.create_model("sparsenet_fast_64", growth=6, topology=topology).stages[1]
    for node, unit in enumerate(stage.units, start=1):
        maps = [torch.zeros(2, stage.widths[source], 5, 5) for source in stage.topology.sources(node)]
        maps[0][:, :6].normal_()
        torch.testing.assert_close(unit.body(unit.read(*maps)), maps[0][:, :6], rtol=0, atol=0)
        others = unit.body.weight[:, 6:]
        assert others.count_nonzero() == others.numel()


def test_fixed_weights_do_not_change_in_training() -> None:
    model = skipweave.create_model("sparsenet_fast_64", growth=4).train()
    model.initialize_from_images([images()])
    fixed = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    norms = [name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)]
    assert set(fixed) == {"stem.conv.weight", *(f"{name}.weight" for name in norms)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: p.clone() for name, p in model.named_parameters()}
    model(torch.randn(8, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == before.keys() - fixed.keys()
    assert all((model.get_parameter(f"{name}.weight") == 1).all() for name in norms)


def test_running_statistics_have_a_momentum() -> None:
    model = skipweave.create_model("sparsenet_fast_64", growth=4).train()
    norm = model.stages[0].entry.activation[0]
    seen: list[Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.randn(8, 3, 32, 32))
    torch.testing.assert_close(norm.running_mean, 0.4 * seen[0].mean((0, 2, 3)))


def test_logits_are_scores_times_64_divided_by_the_number_of_features() -> None:
    model = skipweave.create_model("sparsenet_fast_64", num_classes=7).eval()
    assert model.head.fc.bias is None
    assert model.head.fc.weight.std().item() == pytest.approx(1 / 64)
    x = torch.randn(2, 512, 3, 3)
    torch.testing.assert_close(model.forward_head(x), x.amax((2, 3)) @ model.head.fc.weight.T / 8)


def test_resnet9_adds_the_entry_to_the_second_unit() -> None:
    torch.manual_seed(0)
    model = skipweave.create_model("resnet9_fast", growth=(4, 6, 8)).eval()
    expected = x = model.stem(torch.randn(2, 3, 32, 32))
    for stage in model.stages:
        entry = inside = stage.entry(expected)
        for unit in stage.units:
            inside = unit.norm(unit.body(inside))
        expected = inside + entry if stage.units else entry
    torch.testing.assert_close(model.stages(x), expected)
    assert [len(stage.units) for stage in model.stages] == [2, 0, 2]


def test_wrong_arguments_are_reported_together() -> None:
    with raises("aggregation", "'max'", "transition_kernel", 2, "units", 0):
        skipweave.create_model("sparsenet_fast_64", aggregation="max", transition_kernel=2, units=0)
    for aggregation in ("sum", "mean"):
        with raises("entry_width", (4, 8, 8), repr(aggregation)):
            skipweave.create_model("sparsenet_fast_64", aggregation=aggregation, growth=4, entry_width=(4, 8, 8))


def test_a_fractal_averages_its_two_columns() -> None:
    torch.manual_seed(0)
    model = skipweave.create_model("sparsenet_fast_64", growth=4, topology="fractal", aggregation="mean").eval()
    expected = x = model.stem(torch.randn(2, 3, 32, 32))
    for stage in model.stages:
        entry = stage.entry(expected)
        first, second, parallel = (lambda x, unit=unit: unit.norm(unit.body(x)) for unit in stage.units)
        expected = (second(first(entry)) + parallel(entry)) / 2
    torch.testing.assert_close(model.stages(x), expected)
