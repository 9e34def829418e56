"""Files that are there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.ending import undisturbed, unfinished
from model.data import InputError


def place(field: str, name: str, allowed: str) -> Path:
    """The path that a user's text names. Raises InputError where it is empty, which would be this folder."""
    if not name:
        raise InputError(field, name, allowed)
    return Path(name)


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step. Raises InputError where that cannot be done."""
    if path.exists() and not path.is_file():
        raise InputError("output", str(path), "the name of a regular file")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise InputError("output", str(path), f"a file that can be written ({error.strerror})") from None
    finally:
        with suppress(OSError):  # where all went well it has its final name
            partial.unlink()


def clear_partial(folder: Path) -> None:
    """Remove what :func:`write_whole` left in ``folder`` when it was killed."""
    for partial in folder.glob(".*.partial"):
        with suppress(OSError):
            partial.unlink()


@contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """Call ``undo`` where the block fails, or a signal ends the process in it."""
    unfinished.append(undo)
    try:
        yield
    except BaseException:
        undo()
        raise
    finally:
        unfinished.remove(undo)


@contextmanager
def made_for(folder: Path) -> Iterator[None]:
    """Where the block fails, the folders that it made for ``folder`` go again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]

    def undo() -> None:
        for path in missing:
            with suppress(OSError):
                path.rmdir()

    with undone(undo):
        yield


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to write into; its files move to ``folder`` when the block ends well.

    Otherwise they go, and with them whatever folder was made for them. Raises InputError,
    before the block starts, where ``folder`` cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(made_for(folder))
            folder.mkdir(parents=True, exist_ok=True)
            stage = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        except OSError as error:
            allowed = f"a folder that can be written ({error.strerror})"
            raise InputError("output", str(folder), allowed) from None
        stack.enter_context(undone(lambda: shutil.rmtree(stage, ignore_errors=True)))
        yield stage
        with undisturbed():  # all files or none
            for file in sorted(stage.iterdir()):
                os.replace(file, folder / file.name)
            stage.rmdir()
