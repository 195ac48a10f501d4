MODELS = """def test_models_are_listed_with_their_published_size(capsys):
    inspect.models("sparsenet4")
    assert [line.split() for line in lines(capsys)[2:]] == [
        ["sparsenet40_12", "3x32x32"],
        ["sparsenet40_24", "3x32x32", "0.76M"],
    ]
    inspect.models("delugenet1*")  # whose rows in the ledger name an argument that is the network's own
    assert [line.split()[-1] for line in lines(capsys)[2:]] == ["51.4M", "63.6M", "6.69M", "20.19M"]


def test_models_that_do_not_exist():
    with pytest.raises(SkipweaveError, match="no model is called anything like 'squeezenet'"):
        inspect.models("squeezenet")


"""
