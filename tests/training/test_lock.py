import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skipweave.errors import SkipweaveError
from skipweave.training.lock import held

HOLDER = """
import os, sys, time
from pathlib import Path
from skipweave.training.lock import held
with held(Path(sys.argv[1])):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(600)
"""


def test_one_process_at_a_time(tmp_path: Path):
    """And none once it is killed, even if processes that it forked live on."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        forked = int(holder.stdout.readline())
        with pytest.raises(SkipweaveError, match="is in use by another process"), held(tmp_path, patience=0.1):
            pass
        holder.kill()
    with held(tmp_path):
        os.kill(forked, signal.SIGKILL)
    with held(tmp_path, patience=0):
        pass
