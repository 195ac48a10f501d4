"""The report's thumbnails of a network's most confident mistakes."""

from html import escape

from skipweave.study.report.thumbnails import displayable, thumbnail
from skipweave.study.results import Summary
from skipweave.training.tasks.task import Data

_MOST = 8
_SIDE = 64  # pixels


def mistake_gallery(summary: Summary, data: Data) -> str:
    """The test images that a network has wrong with the highest confidence; nothing where they are not known."""
    images = data.test
    found = summary.mistakes(_MOST)
    if images is None or not found or len(images) != len(summary.predictions[0].labels):
        return ""
    figures = []
    for mistake in found:
        true, predicted = data.classes[mistake.label], data.classes[mistake.predicted]
        picture = thumbnail(displayable(images[mistake.image][0]), _SIDE, f"{true}, predicted as {predicted}")
        lines = (f"<b>{escape(predicted)}</b> {mistake.confidence:.0%}", f"true: {escape(true)}")
        wrong = f"{mistake.seeds} of {len(summary.values)} seeds"
        caption = "<br>".join((*lines, wrong) if len(summary.values) > 1 else lines)
        figures.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
    note = '<p class="note">Predicted class and its probability.</p>'
    return f'<h4>Most confident mistakes</h4>{note}<div class="mistakes">{"".join(figures)}</div>'
