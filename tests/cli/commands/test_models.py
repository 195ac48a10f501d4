from skipweave_cli import main
from skipweave_cli.commands.models import models
from skipweave_cli.options import ModelsOptions
from skipweave_config.model_table import model_table
from tests.errors import raises


def lines(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()][2:]


def test_models_are_listed_with_their_size_and_cost(capsys):
    models(ModelsOptions("sparsenet4"))
    assert lines(capsys) == [
        ["sparsenet40_12", "sparsenet", "3x32x32", "189,514", "78,345,696"],
        ["sparsenet40_24", "sparsenet", "3x32x32", "748,522", "312,054,720", "0.76M"],
    ]
    models(ModelsOptions("delugenet1*"))
    assert [line[-1] for line in lines(capsys)] == ["51.4M", "63.6M", "6.69M", "20.19M"]


def test_all_models_are_listed_by_default(capsys):
    assert main(["models"]) == 0
    assert [line[0] for line in lines(capsys)] == list(model_table())


def test_a_filter_that_matches_nothing_is_reported():
    with raises("'squeezenet'"):
        models(ModelsOptions("squeezenet"))
