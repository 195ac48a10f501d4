"""Loss weights of the heads of a deeply supervised network."""


def halves_loss_weights(heads: int) -> tuple[float, ...]:
    """Log-DenseNet's weights: one half for the last head, the other half split equally over the auxiliary heads.

    Returns:
        One weight per head, of sum 1; a single head has weight 1.

    Examples:
        >>> halves_loss_weights(3)
        (0.25, 0.25, 0.5)
    """
    return _halves([1] * (heads - 1))


def sieve_loss_weights(heads: int) -> tuple[float, ...]:
    """The weights of Log-DenseNet's released runs: one half for the last head, the auxiliary heads by a sieve.

    A head d heads before the last has weight 1 + v(d), where 2^v(d) is the greatest power of two that divides d.

    Deviation: the released code moreover favors one head, drawn at random at every step, which is left out here.

    Returns:
        One weight per head, of sum 1; a single head has weight 1.

    Examples:
        >>> [round(2 * weight, 3) for weight in sieve_loss_weights(11)]
        [0.111, 0.056, 0.222, 0.056, 0.111, 0.056, 0.167, 0.056, 0.111, 0.056, 1.0]
    """
    return _halves([(way & -way).bit_length() for way in range(heads - 1, 0, -1)])


def _halves(weights: list[int]) -> tuple[float, ...]:
    """One half for the auxiliary heads in proportion to their weights, one half for the last head."""
    return (*(0.5 * weight / sum(weights) for weight in weights), 0.5) if weights else (1.0,)
