import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skipweave.files.folder_lock import held
from skipweave_config.errors import SkipweaveError

# Holds a folder until it is killed; says so.
HOLDER = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def test_one_process_at_a_time_and_none_once_it_is_killed(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SkipweaveError, match="is in use by another process"), held(tmp_path, patience=0.1):
            pass
        holder.kill()
        with held(tmp_path, patience=600), pytest.raises(SkipweaveError, match="in use"), held(tmp_path, patience=0):
            pass
    with held(tmp_path, patience=0):
        pass


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_processes_forked_meanwhile_do_not_keep_it(tmp_path: Path):
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
