"""FractalNet against its expansion rule, and its counts."""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

import skipweave
from skipweave.analysis.profile import profile


def test_outputs_follow_the_expansion_rule() -> None:
    """f(C + 1) is the mean of f(C) after f(C), and of one unit; at the end of a stage, of the columns' max pools."""
    torch.manual_seed(0)
    model = skipweave.create_model("fractalnet20", widths=(4, 6)).eval()
    x = expected = torch.randn(2, 3, 16, 16)
    for stage in model.stages:

        def unit(number: int, x: Tensor, units: nn.ModuleList = stage.units) -> Tensor:
            return units[number - 1].norm(units[number - 1].body(x))

        half = (unit(2, unit(1, expected)) + unit(3, expected)) / 2
        columns = [unit(5, unit(4, half)), unit(6, half), unit(7, expected)]
        expected = sum(max_pool2d(column, 2) for column in columns) / 3
    torch.testing.assert_close(model.forward_features(x), expected)


def test_parameters_and_operations() -> None:
    """The papers print 38.6 million parameters, which the released code's channels do not give."""
    with torch.device("meta"):
        costs = profile(skipweave.create_model("fractalnet20"))
    widths, macs, convs, before = (64, 128, 256, 512, 512), 5120, 0, 3
    for stage, width in enumerate(widths):
        weights = 9 * (3 * before * width + 4 * width * width)
        convs, macs, before = convs + weights, macs + weights * (32 >> stage) ** 2, width
    assert costs.parameters == convs + 2 * 7 * sum(widths) + 5130 == 33_724_618
    assert costs.macs == macs
