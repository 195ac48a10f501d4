"""Default colors of classes."""

import colorsys

# Okabe and Ito's color-blind-safe colors (2008), without black, which marks void.
_OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_GOLDEN = 0.618034


def distinct_colors(count: int) -> list[tuple[int, int, int]]:
    """Return distinct RGB colors: seven by Okabe and Ito, then hues a golden angle apart."""
    colors = list(_OKABE_ITO[:count])
    for number in range(count - len(colors)):
        lightness = (0.3, 0.55, 0.75)[number % 3]
        red, green, blue = colorsys.hls_to_rgb(number * _GOLDEN % 1, lightness, 0.75)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colors
