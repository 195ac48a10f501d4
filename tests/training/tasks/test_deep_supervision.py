import pytest

from skipweave.training.tasks.deep_supervision import halves_loss_weights


@pytest.mark.parametrize("heads", [1, 2, 3, 11])
def test_the_last_head_has_half_of_the_total_weight(heads):
    shares = halves_loss_weights(heads)
    assert len(shares) == heads
    assert sum(shares) == pytest.approx(1)
    assert shares[-1] == (0.5 if heads > 1 else 1)
    assert len(set(shares[:-1])) <= 1
