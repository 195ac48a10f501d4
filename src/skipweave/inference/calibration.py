"""Images of a run's training split for the calibration of quantized models."""

from torch import Tensor

from skipweave.data import epoch_loader
from skipweave.training.run.loading import RunImages

_MOST_BYTES = 1 << 30


def calibration_images(run: RunImages, count: int = 300) -> list[Tensor]:
    """Draw training images at random, preprocessed as in evaluation.

    Args:
        run: Network and images of the training split.
        count: Largest number of images; fewer if they are large, of about 1 GB.

    Returns:
        Images (C, H, W), which differ in size for segmentation.
    """
    batches = epoch_loader(run.images, run.data.eval_transform, batch_size=1, seed=0, epoch=0, shuffle=True)
    drawn, size = list[Tensor](), 0
    for images, _ in batches:
        drawn.append(images[0])
        size += images.nbytes
        if len(drawn) == count or size >= _MOST_BYTES:
            break
    return drawn
