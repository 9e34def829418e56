"""Commands and their options, which stand where the fields of records are declared."""

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from model.data import input_error

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich" if sys.stdout and sys.stdout.isatty() else None,
    help="How DSO-led coordination of transmission and distribution grids grows with the number of ADNs.",
    epilog="Example: tso-dso generate 5 -o five.json && tso-dso solve five.json -o out/",
)
Record = TypeVar("Record", bound=BaseModel)
# Paths arrive as text: as a Path the empty text would be the current folder.
Output = Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="folder to write")]


def takes(panel: str, fields: Mapping[str, FieldInfo]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command one option per field; type, range and default stay where the field is declared.

    An option not given arrives as None, one given as its text, in the command's ``**given``.
    """

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        *named, rest = inspect.signature(command).parameters.values()
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    str | None,
                    typer.Option(
                        "--" + name.replace("_", "-"),
                        help=f"{field.description} ({_range(field)})",
                        metavar=_metavar(field),
                        show_default=False,
                        rich_help_panel=panel,
                    ),
                ],
            )
            for name, field in fields.items()
        ]
        command.__signature__ = inspect.Signature([*named, *options, rest])  # type: ignore[attr-defined]
        return command

    return decorate


def command(epilog: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a command, its ``**given`` replaced by the options that ``takes`` added."""

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        parameters = inspect.signature(function).parameters.values()
        named = [p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
        function.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
        return app.command(epilog=epilog)(function)

    return decorate


def _metavar(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    return {int: "INTEGER", str: "TEXT"}.get(field.annotation, "NUMBER")  # type: ignore[arg-type]


def _range(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [f"{words[k]} {getattr(m, k):g}" for m in field.metadata for k in words if hasattr(m, k)]
    return ", ".join([*limits, f"default {field.default}"])


def read(record: type[Record], given: Mapping[str, Any]) -> Record:
    """A record from the texts given on the command line. Raises InputError."""
    try:
        return record(**{name: text for name, text in given.items() if text is not None})
    except ValidationError as error:
        raise input_error(error) from None
