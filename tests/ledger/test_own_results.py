from skipweave.ledger import INPUT_SIZES
from skipweave.ledger.own_results import own_results


def test_results_are_complete():
    for result in own_results():
        assert result.dataset in INPUT_SIZES, result
        assert isinstance(result.overrides, dict), result
        assert 0 < result.error < 100, result
        assert min(result.seeds, result.epochs, result.parameters, result.macs) > 0, result
        assert result.label, result
        assert result.source, result
