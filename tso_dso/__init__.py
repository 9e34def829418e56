"""The command line: ``tso-dso generate``, ``solve``, ``sweep``, ``compare`` and ``report``.

Exit status: 0 done (``solve``, ``compare``: all certified to the gap asked for); 1 not certified (the gap not
reached, the time limit, infeasible, an error); 2 bad input, told in one line on standard error, with
nothing written, or a disk that is full or gone; 129, 130, 143 ended by SIGHUP, SIGINT, SIGTERM, told
in one line, or 141 by a reader of the output who went away, with nothing half written left behind.
A terminal gets tables and progress bars, a pipe gets plain lines.
"""

import re
import sys

import typer

from benchmarks.ending import Ended, end_cleanly
from benchmarks.records import Spec
from model.data import InputError
from tso_dso import instances, studies  # noqa: F401  the commands
from tso_dso.options import app, read
from tso_dso.terminal import warn


def _run(words: list[str]) -> int:
    """The exit status of a command line. Raises InputError or TyperException for a wrong one."""
    try:
        return app(words, prog_name="tso-dso", standalone_mode=False)
    except typer.TyperException as error:
        option = getattr(error, "option_name", "")  # of one that does not exist
        if words[0] == "generate" and re.fullmatch("-[0-9]", option):  # a negative N
            read(Spec, {"n_adns": next(word for word in words if word.startswith(option))})
        raise


def main(arguments: list[str] | None = None) -> None:
    """The console script; ``arguments`` are those of the process if not given."""
    end_cleanly()
    status = 2
    try:
        sys.exit(_run(arguments or sys.argv[1:] or ["--help"]))
    except Ended as end:
        line, status = end.line, end.status
    except InputError as error:
        line = str(error)
    except typer.TyperException as error:
        line = " ".join(error.format_message().split())
    except OSError as error:  # a disk that fills up, a folder taken away meanwhile
        line = str(InputError("file", error.filename or "", error.strerror or str(error)))
    warn(f"error: {line}")
    sys.exit(status)
