"""What the heads of a deeply supervised network count in its loss."""


def head_shares(heads: int) -> tuple[float, ...]:
    """Log-DenseNet's shares: one half for the last head, the other half for the others in equal parts.

    Returns:
        One share a head, of sum 1; a single head has all of it.

    Examples:
        >>> head_shares(3)
        (0.25, 0.25, 0.5)
    """
    return (0.5 / (heads - 1),) * (heads - 1) + (0.5,) if heads > 1 else (1.0,)
