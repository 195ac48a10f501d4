"""Colors and markers of the series of a plot."""

#: One color a network, readable on white and on near-black; with the marker also readable without color.
PALETTE = ("#2f7ed8", "#e07b00", "#2a9d5c", "#c0448f", "#8a63d2", "#b8860b", "#0f9fae", "#d9483b", "#7a7f87", "#6b8e23")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")


def series_style(index: int) -> tuple[str, str]:
    """Color and marker of the series with this index; a hundred differ."""
    return PALETTE[index % len(PALETTE)], MARKERS[(index + index // len(PALETTE)) % len(MARKERS)]
