"""Event files for TensorBoard, written without a thread.

`torch.utils.tensorboard.SummaryWriter` writes in a thread of its own: on a full disk that thread prints a traceback,
and the error, which names no file, is raised at the next flush and once more when the process exits.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class Events:
    """A new file of events.

    Raises:
        OSError: It cannot be written, here and in `add`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        now = time.time()
        self._file = (folder / f"events.out.tfevents.{now:.0f}").open("wb", buffering=0)
        self._writer = RecordWriter(self._file)
        try:
            self._write(Event(wall_time=now, file_version="brain.Event:2"))
        except OSError:
            self.close()
            raise

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Write values by name."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())
