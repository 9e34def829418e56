"""A page and its Markdown twin, written as a whole or not at all."""

import base64
import gzip
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from reports.draw import Picture
from reports.rows import ReportError
from reports.tables import Table

FIGURES = ("growth", "sizes", "times", "gaps", "memory", "profiles", "claims", "challenge", "day", "changes")
STUDY_ROWS = "study.jsonl.gz"  # several hundred rows of all schemes, each of some 3 kB


@dataclass(frozen=True)
class Section:
    """One section of the page: paragraphs apart by empty lines, a picture, if there is one, and the tables
    behind it.
    """

    anchor: str
    title: str
    text: str
    picture: Picture | None = None
    tables: list[Table] = field(default_factory=list)


def publish(gather: Callable[[], dict[str, Any]], files: Mapping[str, bytes], output: Path) -> Path:
    """Write index.html, report.md, figures/*.png and ``files`` into ``output``; returns the path of
    index.html.

    ``gather`` makes what the templates show. Everything is written beside ``output`` first and moved in when
    complete; the files of an older report there are replaced, others are left alone. Raises ReportError where
    the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.resolve().parent))
    except OSError as error:
        raise _unwritable(output, error) from None
    try:
        _write(gather(), files, draft)
        _move(draft, output)
    except OSError as error:
        raise _unwritable(output, error) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return output / "index.html"


def packed(text: str) -> bytes:
    """A text compressed; the same bytes for the same text."""
    return gzip.compress(text.encode(), mtime=0)


def data_address(text: str) -> str:
    """An address that holds a text within itself, compressed."""
    return f"data:application/gzip;base64,{base64.b64encode(packed(text)).decode()}"


def _unwritable(output: Path, error: OSError) -> ReportError:
    return ReportError("output folder", str(output), f"a folder that can be written ({error.strerror})")


def _write(content: dict[str, Any], files: Mapping[str, bytes], folder: Path) -> None:
    (folder / "figures").mkdir()
    for picture in (content["hero"], *(section.picture for section in content["sections"])):
        if picture is not None:
            picture.write_png(folder / "figures" / f"{picture.name}.png")
    for name, is_html in (("index.html", True), ("report.md", False)):
        template = _environment(is_html).get_template(f"report.{'html' if is_html else 'md'}.j2")
        (folder / name).write_text(template.render(content), "utf-8")
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _move(draft: Path, output: Path) -> None:
    (output / "figures").mkdir(exist_ok=True)
    # What the new report does not have must not survive from the old one.
    for name in (STUDY_ROWS, *(f"figures/{name}.png" for name in FIGURES)):
        if not (draft / name).exists():
            (output / name).unlink(missing_ok=True)
    for path in sorted(draft.rglob("*")):
        if path.is_file():
            os.replace(path, output / path.relative_to(draft))


def _environment(is_html: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=is_html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md_cell"] = lambda words: str(words).replace("|", "\\|").replace("\n", " ")
    return environment
