import pytest
from PIL import Image

from skipweave_cli import main
from skipweave_cli.commands.show import show
from skipweave_cli.options import ShowOptions
from skipweave_config.errors import SkipweaveError


def lines(capsys):
    return [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_show_names_costs_and_links(capsys):
    show(ShowOptions("sparsenet121_32"))
    told = "\n".join(lines(capsys))
    for figure in ("4,513,576", "1,723,480,320", "6.1 MiB", "199 into 58 units", "maximum 5"):
        assert figure in told
    assert "FLOPs" not in told
    for stage in ("1       exponential       6      14", "3       exponential      24      94"):
        assert stage in told


def test_show_takes_overrides_and_an_input_size(capsys):
    show(ShowOptions("sparsenet40_24", {"growth": 12, "num_classes": 100}, (3, 16, 16)))
    told = lines(capsys)
    assert told[0] == "sparsenet40_24 growth=12 num_classes=100"
    assert any(line.startswith("parameters") and "193,924" in line for line in told)
    assert any(line.split() == ["images", "3x16x16"] for line in told)


def test_show_compresses_networks(capsys):
    assert main(["show", "tutorial_mnist", "--args.depth_multiplier", "0.5", "--args.sparsify", "0.1"]) == 0
    told = lines(capsys)
    assert any(line.startswith("parameters") and "55,050" in line for line in told)


def test_show_saves_pictures(capsys, tmp_path):
    show(ShowOptions("sparsenet40_24", save=tmp_path / "new" / "net"))
    show(ShowOptions("sparsenet40_24", save=tmp_path))
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"new/net.png", "new/net.svg", "sparsenet40_24.png", "sparsenet40_24.svg"}
    assert f"saved {tmp_path / 'new' / 'net.png'}" in lines(capsys)
    Image.open(tmp_path / "sparsenet40_24.png").verify()


def test_show_does_not_overwrite(tmp_path):
    (tmp_path / "net.svg").write_text("mine")
    with pytest.raises(SkipweaveError) as caught:
        show(ShowOptions("sparsenet40_24", save=tmp_path / "net"))
    assert str(tmp_path / "net.svg") in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["net.svg"]
    assert (tmp_path / "net.svg").read_text() == "mine"


def test_operations_are_printed_by_the_conventions_asked_for(capsys):
    assert main(["show", "sparsenet121_32", "--convention", "sparsenet,seqconv"]) == 0
    flops = [line.split()[-2:] for line in lines(capsys) if line.startswith("FLOPs")]
    assert flops == [["sparsenet", "3,464,608,896"], ["seqconv", flops[1][1]]]
    assert main(["show", "sparsenet121_32", "--convention", "densenet"]) == 2
    assert "'densenet'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "begin"),
    [
        (["sparsenet40_25"], "unknown model 'sparsenet40_25': "),
        (["sparsenet40_24", "--args.growth", "0"], "growth is 0: "),
        (["sparsenet40_24", "--input_size", "3,8"], "input_size"),
    ],
)
def test_mistakes_on_the_command_line(capsys, words, begin):
    assert main(["show", *words]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"skipweave: error: {begin}")
    assert shown.count("\n") == 1
