r"""Logarithmic axes whose numbers are plain text.

matplotlib writes powers as formulas, which appear raw, as `$\mathdefault{10^{5}}$`, where text is not parsed as such:
names and titles here are the user's, so it is not.
"""

from matplotlib.axis import XAxis, YAxis
from matplotlib.ticker import Formatter, LogLocator, NullFormatter, StrMethodFormatter


def logarithmic(axis: XAxis | YAxis, formatter: Formatter | None = None) -> None:
    """Make an axis logarithmic, with numbers at 1, 2 and 5 times powers of ten.

    Args:
        axis: `axes.xaxis` or `axes.yaxis`.
        formatter: of the numbers; by default as short as they are exact to six digits.
    """
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # which brings formatters of its own
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(formatter or StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
