from skipweave.training import Callback, RunStart


class Interruption(Callback):
    """Records what a run reports first, and interrupts it after some steps.

    Args:
        after: Number of steps; 0 for a run to its end.

    Attributes:
        notes: Notes printed before training.
        read: (done, total) of each image that is read before training.
    """

    def __init__(self, after: int = 0) -> None:
        self.left = after
        self.notes: tuple[str, ...] = ()
        self.read: list[tuple[int, int]] = []

    def on_image_checked(self, done: int, total: int) -> None:
        self.read.append((done, total))

    def on_fit_start(self, start: RunStart) -> None:
        self.notes = start.notes

    def on_step_end(self, epoch: int, step: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
