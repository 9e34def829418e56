"""Holds one run of a sweep: no process of the run outlives the run, nor the sweep.

``python -I -S guard.py SWEEP SCRATCH BYTES COMMAND...`` starts the worker COMMAND and ends as it ends.
The process stands between the sweep, whose id is SWEEP, and the worker. When the worker ends, SIGTERM
comes, or the sweep dies, even of SIGKILL, it kills all descendants. It adopts those whose parent has
ended, so none slips away, whatever session it is in. SCRATCH is the run's folder, which goes with it;
the sweep has its files open. Each process of the run may hold BYTES of private memory, used or not
(``RLIMIT_DATA``). Needs Linux. Knows nothing of the project, so that it starts in some 20 ms.
"""

import ctypes
import os
import resource
import shutil
import signal
import sys
from contextlib import suppress
from types import FrameType

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of linux/prctl.h


def main(sweep: int, scratch: str, limit: int, command: list[str]) -> None:
    """See the head of this file."""
    prctl = ctypes.CDLL(None).prctl
    signal.signal(signal.SIGTERM, _leave)
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    status = 0
    try:
        guard = os.getpid()
        if os.getppid() != sweep:  # it died before we asked to be told
            return
        worker = os.fork()
        if worker == 0:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            _become(guard, limit, command)
        os.close(0)  # the order is the worker's to read
        ended = None
        while ended != worker:
            ended, status = os.wait()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_all()
        shutil.rmtree(scratch, ignore_errors=True)
    _end_as(status)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _become(guard: int, limit: int, command: list[str]) -> None:
    """Turn the forked process into the worker. Does not return."""
    try:
        if os.getppid() != guard:
            return
        os.setsid()  # a worker that signals its group does not hit the guard
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and inherited
            signal.signal(ignored, signal.SIG_DFL)
        # Should the system run out of memory, it takes this process first.
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
        allowed = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if allowed != resource.RLIM_INFINITY:
            limit = min(limit, allowed)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    finally:
        os._exit(127)


def _end_all() -> None:
    """Kill and reap the children until there are none: those of a killed child become ours."""
    while True:
        for pid in _children():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _children() -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            parent = file.read().rpartition(b")")[2].split()[1]  # a command's name may hold brackets
            if int(parent) == os.getpid():
                found.append(int(name))
    return found


def _end_as(status: int) -> None:
    """End with the exit code of a wait status, or of its signal."""
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker's own core is enough
        number = os.WTERMSIG(status)
        with suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
