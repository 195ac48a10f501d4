import pytest

from skipweave.study.jobs import _across_processes


def test_without_a_receiver_senders_end():
    """As in a pool whose parent was killed: a sender that waited for room in the pipe would wait forever."""

    def gone(value: object) -> None:
        raise BrokenPipeError

    def send_much() -> None:
        with _across_processes(gone) as send:
            for _ in range(10_000):
                send("x" * 1000)

    with pytest.raises(ConnectionError):
        send_much()
