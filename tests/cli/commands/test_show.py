import pytest
from PIL import Image

from skipweave_cli import main
from skipweave_cli.commands.show import show
from skipweave_cli.options import ShowOptions
from tests.errors import raises


def lines(capsys):
    return [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_show_names_costs_and_links(capsys):
    show(ShowOptions("sparsenet121_32"))
    printed = "\n".join(lines(capsys))
    for figure in ("4,513,576", "1,723,480,320", "6.1 MiB", "199 into 58 units", "maximum 5"):
        assert figure in printed
    assert "FLOPs" not in printed
    for stage in ("1       exponential       6      14", "3       exponential      24      94"):
        assert stage in printed


@pytest.mark.parametrize(
    ("name", "topology", "stages"),
    [
        ("fc_densenet56", "exponential", [(1, "exponential", 3), (2, "exponential", 7), (3, "exponential", 3)]),
        ("fc_densenet56", "fractal", [(1, "fractal", 3), (2, "fractal", 7), (3, "fractal", 3)]),
        ("fc_logdensenet103", "loglog", [("all", "loglog", "and", "the", "first", "stage's", "last", "node", 13)]),
    ],
)
def test_show_lists_and_draws_the_topologies_of_segmentation_networks(capsys, tmp_path, name, topology, stages):
    args = {"units": [3, 7, 3], "growth": 2, "topology": topology}
    show(ShowOptions(name, args, (3, 32, 32), save=tmp_path / "net"))
    printed = [line.split() for line in lines(capsys)]
    for row in stages:
        assert any(words[: len(row)] == [*map(str, row)] for words in printed)
    assert {path.name for path in tmp_path.iterdir()} == {"net.png", "net.svg"}


def test_show_takes_overrides_and_an_input_size(capsys):
    show(ShowOptions("sparsenet40_24", {"growth": 12, "num_classes": 100}, (3, 16, 16)))
    printed = lines(capsys)
    assert printed[0] == "sparsenet40_24 growth=12 num_classes=100"
    assert any(line.startswith("parameters") and "193,924" in line for line in printed)
    assert any(line.split() == ["images", "3x16x16"] for line in printed)


def test_show_compresses_networks(capsys):
    asked = '{"density": 0.1, "fully_connected": true}'
    assert main(["show", "tutorial_mnist", "--args.depth_multiplier", "0.5", "--args.sparsify", asked]) == 0
    printed = lines(capsys)
    assert any(line.startswith("parameters") and "55,354" in line for line in printed)


def test_show_draws_and_counts_the_channels_of_sparse_layers(capsys, tmp_path):
    words = [
        "--args.sparsify",
        '{"density": 0.1, "seed": 0}',
        "--args.widths",
        "[8, 20]",
        "--save",
        str(tmp_path / "net"),
    ]
    assert main(["show", "tutorial_mnist", *words]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        f"net_{part}.{kind}" for part in ("channels", "paths") for kind in ("png", "svg")
    }
    row = next(line.split() for line in lines(capsys) if line.startswith("stages.1.layers.0.conv"))
    assert row == ["stages.1.layers.0.conv", "1", "20", "1", "8"]


def test_show_saves_pictures(capsys, tmp_path):
    show(ShowOptions("sparsenet40_24", save=tmp_path / "new" / "net"))
    show(ShowOptions("sparsenet40_24", save=tmp_path))
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"new/net.png", "new/net.svg", "sparsenet40_24.png", "sparsenet40_24.svg"}
    assert f"saved {tmp_path / 'new' / 'net.png'}" in lines(capsys)
    Image.open(tmp_path / "sparsenet40_24.png").verify()


def test_show_does_not_overwrite(tmp_path):
    (tmp_path / "net.svg").write_text("mine")
    with raises(tmp_path / "net.svg"):
        show(ShowOptions("sparsenet40_24", save=tmp_path / "net"))
    assert [path.name for path in tmp_path.iterdir()] == ["net.svg"]
    assert (tmp_path / "net.svg").read_text() == "mine"


def test_operations_are_printed_by_the_given_conventions(capsys, rejects):
    assert main(["show", "sparsenet121_32", "--convention", "sparsenet,seqconv"]) == 0
    flops = [line.split()[-2:] for line in lines(capsys) if line.startswith("FLOPs")]
    assert flops == [["sparsenet", "3,464,608,896"], ["seqconv", flops[1][1]]]
    rejects(["show", "sparsenet121_32", "--convention", "densenet"], "'densenet'")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["sparsenet40_25"], ["'sparsenet40_25'"]),
        (["sparsenet40_24", "--args.growth", "0"], ["growth", 0]),
        (["sparsenet40_24", "--input_size", "3,8"], ["input_size"]),
    ],
)
def test_invalid_values_are_rejected(rejects, words, named):
    rejects(["show", *words], *named)
