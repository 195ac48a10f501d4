r"""Logarithmic axes with plain-text tick labels.

Math parsing is off, as titles and names come from the user, so matplotlib's own labels would appear as
`$\mathdefault{10^{5}}$`.
"""

import math

from matplotlib.axis import XAxis, YAxis
from matplotlib.ticker import Formatter, LogLocator, NullFormatter, StrMethodFormatter

_WIDE = 3


def set_log_scale(axis: XAxis | YAxis, formatter: Formatter | None = None) -> None:
    """Set the scale of an axis to logarithmic, with labels at 1, 2 and 5 times powers of ten.

    Args:
        axis: `axes.xaxis` or `axes.yaxis`.
        formatter: Formatter of the labels; by default up to six significant digits.
    """
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # also sets formatters
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(formatter or StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def use_log_scale_if_wide(axis: YAxis) -> None:
    """Make the axis of curves logarithmic if their values span more than a factor of three, with several labels then.

    Without a positive value there is no logarithm.
    """
    limits = axis.axes.dataLim
    if math.isfinite(limits.minposy) and limits.y1 > _WIDE * limits.minposy:
        set_log_scale(axis)
