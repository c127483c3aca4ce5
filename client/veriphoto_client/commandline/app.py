"""Builds the ``veriphoto`` command line from the entry points of all installed parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from veriphoto import __version__
from veriphoto.errors import VeriphotoError, install_command

GROUP: Final = "veriphoto.commands"
_EXTRAS: Final = {
    "serving": f"run make serve once, or {install_command('serving')}",
    "monitoring": f"run make serve once, or {install_command('monitor')}",
    "review": f"run {install_command('review')}",
}
"""What installs the packages that a part needs as it is loaded."""


def build(parts: Iterable[EntryPoint] | None = None) -> typer.Typer:
    """Builds the command line.

    Args:
        parts: Entry points of ``register(app)`` functions; by default those of the installed packages.

    Returns:
        The application. A part that cannot be loaded is left out, and reported when somebody uses an unknown command
        that does not look like a typing error.
    """
    broken: dict[str, Exception] = {}
    app = typer.Typer(
        name="veriphoto",
        cls=_group(broken),
        help="Tells whether a product photo was taken by a camera or made by an AI generator.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for part in sorted(entry_points(group=GROUP) if parts is None else parts, key=lambda part: part.name):
        try:
            part.load()(app)
        except Exception as error:  # noqa: BLE001 (one broken part must not break the others)
            broken[part.name] = error
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"veriphoto {__version__}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass  # only holds the options that stand before a command


def _group(broken: Mapping[str, Exception]) -> type[TyperGroup]:
    class Group(TyperGroup):
        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            command = super().get_command(ctx, cmd_name)
            if command is None and not get_close_matches(cmd_name, self.list_commands(ctx)):
                for part, error in broken.items():
                    typer.echo(_complaint(part, error), err=True)
            return command

    return Group


def _complaint(part: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and part in _EXTRAS:
        what = f"'{error.name}' is not installed; {_EXTRAS[part]}"
    else:
        what = error.to_wire() if isinstance(error, VeriphotoError) else f"{type(error).__name__}: {error}"
    return f"the commands of '{part}' are not available: {what}"
