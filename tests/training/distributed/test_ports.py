import errno
import os
import socket

import pytest
from torch.distributed import TCPStore

from skipweave.training.distributed.ports import meeting_port, reserved_port


def test_a_reserved_port_is_available_to_its_processes_only():
    with reserved_port() as reserved:
        host, port = reserved.getsockname()
        with socket.socket() as other, pytest.raises(OSError, match=f"Errno {errno.EADDRINUSE}"):
            other.bind((host, port))
        for _ in range(2):  # as a run that is started again does
            store = TCPStore(host, port, is_master=True, wait_for_workers=False)
            store.set("a", "b")
            assert TCPStore(host, port, is_master=False).get("a") == b"b"
            del store


def test_the_port_is_named_while_processes_are_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with meeting_port():
        first = os.environ["MASTER_PORT"]
        with meeting_port():
            assert os.environ["MASTER_PORT"] == first
    assert "MASTER_PORT" not in os.environ
    monkeypatch.setenv("MASTER_PORT", "1234")
    with meeting_port():
        assert os.environ["MASTER_PORT"] == "1234"
    assert os.environ["MASTER_PORT"] == "1234"
