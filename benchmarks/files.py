"""Files that are there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.ending import unfinished
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
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise InputError("output", str(path), f"a file that can be written ({error.strerror})") from None
    finally:
        with suppress(OSError):  # where all went well it has its final name
            partial.unlink()


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to write into; its files move to ``folder`` when the block ends well.

    Otherwise they go, and with them whatever folder was made for them. Raises InputError,
    before the block starts, where ``folder`` cannot be written.
    """
    made: list[Path] = []
    stage = None

    def undo() -> None:
        if stage:
            shutil.rmtree(stage, ignore_errors=True)
        for path in made:
            with suppress(OSError):
                path.rmdir()

    unfinished.append(undo)
    try:
        try:
            made = [p for p in (folder, *folder.parents) if not p.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            stage = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        except OSError as error:
            allowed = f"a folder that can be written ({error.strerror})"
            raise InputError("output", str(folder), allowed) from None
        yield stage
        for file in sorted(stage.iterdir()):
            os.replace(file, folder / file.name)
        stage.rmdir()
    except BaseException:
        undo()
        raise
    finally:
        unfinished.remove(undo)
