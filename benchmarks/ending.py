"""SIGINT, SIGTERM and SIGHUP end a command with nothing half written left behind."""

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 5.0

unfinished: list[Callable[[], None]] = []  # what undoes each thing half written, the latest last
_held: list[int] | None = None  # the signals that came in an undisturbed block


class Ended(SystemExit):
    """Raised in the main thread by a signal."""

    def __init__(self, number: int):
        self.status = 128 + number
        self.line = f"ended by {signal.Signals(number).name}"
        super().__init__(self.status)


@functools.cache  # once a process
def end_cleanly() -> None:
    """Make the signals an :class:`Ended` in the main thread, and the end where that thread does not hear it.

    A solver at work in its own code lets no exception through before it is done, which may take its
    whole time limit. So another thread undoes what is ``unfinished`` and ends the process after ``GRACE_S``.
    """
    heard, tell = os.pipe()
    os.set_blocking(tell, False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _leave)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_insist, args=(heard,), daemon=True).start()


@contextmanager
def undisturbed() -> Iterator[None]:
    """A short block that no signal interrupts: it takes effect at the end of the block."""
    global _held
    _held = []
    try:
        yield
    finally:
        came, _held = _held, None
        if came:
            _leave(came[0], None)


def _leave(number: int, frame: FrameType | None) -> None:
    if _held is not None:
        _held.append(number)
        return
    for other in SIGNALS:  # what cleans up is not disturbed by a second one; GRACE_S is its limit
        signal.signal(other, signal.SIG_IGN)
    raise Ended(number)


def _insist(heard: int) -> None:
    number = 0
    while number not in SIGNALS:  # another signal has its own handler
        number = os.read(heard, 1)[0]
    time.sleep(GRACE_S)
    for undo in reversed(unfinished):
        undo()
    end = Ended(number)
    with suppress(OSError):  # nobody there to read it
        os.write(2, f"error: {end.line}\n".encode())
    os._exit(end.status)
