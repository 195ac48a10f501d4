import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skipweave.files.folder_lock import held
from tests.errors import raises

# Holds a folder until it is killed; says so.
HOLDER = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def test_a_folder_is_locked_until_its_process_ends(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with raises(tmp_path), held(tmp_path, patience=0.1):
            pass
        holder.kill()
        with held(tmp_path, patience=600), raises(tmp_path), held(tmp_path, patience=0):
            pass
    with held(tmp_path, patience=0):
        pass


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_processes_do_not_hold_the_lock(tmp_path: Path):
    """As those that read images do, which outlive a killed parent for some seconds."""
    with held(tmp_path):
        forked = os.fork()
        if not forked:
            time.sleep(600)
            os._exit(0)
    try:
        with held(tmp_path, patience=600):  # until that process has begun
            pass
    finally:
        os.kill(forked, signal.SIGKILL)
        os.waitpid(forked, 0)
