"""Callbacks are called in order, with what has happened by then, and torn down whatever happens."""

from collections.abc import Callable
from typing import Any

import pytest

from skipweave.training import Callback, FitConfig, fit

Tiny = Callable[..., FitConfig]


class Recorder(Callback):
    """Records its calls; raises an error at a given event."""

    def __init__(self, fail_at: str = "") -> None:
        self.fail_at = fail_at
        self.calls: list[tuple[str, Any]] = []

    def record(self, event: str, *values: object) -> None:
        self.calls.append((event, values))
        if event == self.fail_at:
            raise RuntimeError(event)

    def on_fit_start(self, start) -> None:
        self.record("fit_start", start)

    def on_step_end(self, epoch: int, step: int) -> None:
        self.record("step_end", epoch, step)

    def on_log(self, epoch: int, step: int, loss: float) -> None:
        self.record("log", epoch, step, loss)

    def on_epoch_end(self, row) -> None:
        self.record("epoch_end", row)

    def on_fit_end(self, summary) -> None:
        self.record("fit_end", summary)

    def teardown(self) -> None:
        self.record("teardown")

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.calls]


def test_the_order_of_events(tiny: Tiny):
    first, second = Recorder(), Recorder()
    summary = fit(tiny(epochs=1, batch_size=256), callbacks=[first, second])
    assert first.events == ["fit_start", *["step_end", "log"] * 2, "epoch_end", "fit_end", "teardown"]
    assert second.events == first.events
    values = dict(first.calls)
    (start,), (row,) = values["fit_start"], values["epoch_end"]
    assert (start.epochs, start.steps, start.epoch, start.step, start.metric.name) == (1, 2, 0, 0, "top1_error")
    assert [call[1] for call in first.calls if call[0] == "step_end"] == [(0, 1), (0, 2)]
    assert values["log"] == (0, 2, row.train_loss)
    assert values["fit_end"] == (summary,)


def test_a_finished_run_ends_at_once(tiny: Tiny):
    config, again = tiny(epochs=1, batch_size=512), Recorder()
    summary = fit(config)
    fit(config, resume=summary.run_dir, callbacks=[again])
    assert again.events == ["fit_end"]


@pytest.mark.parametrize("event", ["fit_start", "step_end", "epoch_end", "fit_end"])
def test_callbacks_are_torn_down_after_an_error(tiny: Tiny, event: str):
    other, failing = Recorder(), Recorder(fail_at=event)
    with pytest.raises(RuntimeError, match=event):
        fit(tiny(epochs=1, batch_size=512), callbacks=[other, failing])
    assert (other.events[-1], failing.events[-1]) == ("teardown", "teardown")
