"""What the heads of a deeply supervised network count in its loss."""


def head_shares(heads: int) -> tuple[float, ...]:
    """Log-DenseNet's shares: one half for the last head, the other half for the others in equal parts.

    Returns:
        One share a head, of sum 1; a single head has all of it.

    Examples:
        >>> head_shares(3)
        (0.25, 0.25, 0.5)
    """
    return _halves([1] * (heads - 1))


def sieve_shares(heads: int) -> tuple[float, ...]:
    """The shares of Log-DenseNet's released runs: half for the last head, the others by a sieve.

    A head d heads before the last weighs 1 + v(d), where 2^v(d) is the greatest power of two that divides d; the
    released code moreover favors one head, drawn anew, at every step, which is left out here.

    Returns:
        One share a head, of sum 1; a single head has all of it.

    Examples:
        >>> [round(2 * share, 3) for share in sieve_shares(11)]
        [0.111, 0.056, 0.222, 0.056, 0.111, 0.056, 0.167, 0.056, 0.111, 0.056, 1.0]
    """
    return _halves([(way & -way).bit_length() for way in range(heads - 1, 0, -1)])


def _halves(weights: list[int]) -> tuple[float, ...]:
    """The early heads share one half by their weights; the last has the other."""
    return (*(0.5 * weight / sum(weights) for weight in weights), 0.5) if weights else (1.0,)
