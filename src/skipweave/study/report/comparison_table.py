"""The report's table of comparisons of two networks, and what its columns are."""

from collections.abc import Iterator, Sequence
from html import escape

from skipweave.study.comparisons import MOST_PAIRED, Comparison, comparisons
from skipweave.study.report.verdict import outlying_note
from skipweave.study.results import Results


def comparison_section(results: Results) -> str:
    """Heading, table and note; nothing where no difference has an interval."""
    compared = comparisons(results)
    if not any(one.interval for one in compared):
        return ""
    counts = any(one.only_wrong for one in compared)
    points = " [points]" if results.metric.unit else ""
    head = ("network", "compared with", f"difference{points}", "95 % interval", "p", "p, adjusted", "seeds",
            *(("wrong by it alone", "wrong by the other alone") if counts else ()))  # fmt: skip
    titles = "".join(f"<th>{title}</th>" for title in head)
    rows = "".join(_row(one, counts=counts) for one in compared)
    table = f"<table class='comparisons'><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>"
    note = escape(" ".join(_note(compared, results)))
    return f'<h2>Comparisons</h2><div class="scroll">{table}</div><p class="note">{note}</p>'


def _row(one: Comparison, *, counts: bool) -> str:
    low, high = one.interval or (None, None)
    seeds, of_reference = len(one.network.values), len(one.reference.values)
    cells = (
        escape(one.network.network.label),
        escape(one.reference.network.label),
        _signed(one.difference),
        "–" if low is None or high is None else f"[{_signed(low)}, {_signed(high)}]",
        _p_text(one.p),
        _p_text(one.holm_p),
        str(seeds) if seeds == of_reference else f"{seeds} and {of_reference}",
        *((map(str, one.only_wrong) if one.only_wrong else ("–", "–")) if counts else ()),
    )
    row = '<tr class="differs">' if one.differs else "<tr>"
    return f"{row}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _p_text(p: float | None) -> str:
    return "–" if p is None else "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def _note(compared: Sequence[Comparison], results: Results) -> Iterator[str]:
    """What differences, intervals and p values are, in sentences."""
    spread, paired = results.spread, all(one.paired_images for one in compared)
    yield f"Mean test {results.metric.label} of the network minus that of the other. Each interval is of one comparison"
    yield "alone; adjusted p values are Holm's for all comparisons of this table, in bold where below 0.05."
    if spread:
        yield "p is of a two-sided t test, with the spread over seeds pooled over the networks"
        yield f"({spread.freedom} degrees of freedom){f'; {outlying_note(results)}' if results.outlying else ''}."
    else:
        test = "McNemar's exact test of the images that only one of the two has wrong" if paired else "a normal test"
        yield f"p is of {test}, two-sided. Each network was trained once: other seeds may give other differences."
    if not results.test_images:
        yield "Intervals and p are for these test images."
    elif paired:
        yield "Networks are compared image by image, on the same test images."
    else:
        yield "Not all runs have predictions for the same test images, so networks are compared as if each had seen"
        yield "others, which makes intervals too wide."
    if len(results.summaries) > MOST_PAIRED:
        yield "The best network was chosen by these values, so that its lead is overestimated a little."
