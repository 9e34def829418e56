"""SIGTERM ends a command with nothing half written left behind."""

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

STATUS = 128 + signal.SIGTERM
GRACE_S = 5.0

unfinished: list[Callable[[], None]] = []  # what undoes each thing half written


@functools.cache  # once a process
def end_cleanly() -> None:
    """Make SIGTERM a ``SystemExit`` in the main thread, and the end where that thread does not hear it.

    A solver at work in its own code lets no exception through before it is done, which may take its
    whole time limit. So another thread undoes what is ``unfinished`` and ends the process after ``GRACE_S``.
    """
    heard, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STATUS))
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_insist, args=(heard,), daemon=True).start()


def _insist(heard: int) -> None:
    while os.read(heard, 1)[0] != signal.SIGTERM:
        pass  # another signal, which has its own handler
    time.sleep(GRACE_S)
    for undo in unfinished:
        undo()
    os._exit(STATUS)
