"""Builds the ``veriphoto`` command line from the entry points of all installed parts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from veriphoto import __version__
from veriphoto.errors import VeriphotoError, install_command
from veriphoto_client.commandline.unknown import known_variables, unknown_variables

GROUP: Final = "veriphoto.commands"
_EXTRAS: Final = {
    "serving": f"run make serve once, or {install_command('serving')}",
    "monitoring": f"run make serve once, or {install_command('monitor')}",
    "review": f"run {install_command('review')}",
}
"""What installs the packages that a part needs as it is loaded."""
_ORDER: Final = (
    *("predict", "scan", "serve", "page", "health", "gateway", "monitor", "drift", "canary", "review", "calibrate"),
    *("data", "teacher", "train", "average", "evaluate", "export", "models", "encoder", "second-opinion"),
)
"""How ``--help`` lists the commands: scoring and serving, then watching and deciding, then making a model."""
_WHOLE: Final = 200
"""Letters of a command's first sentence that a list of commands shows, on as many lines as that takes."""


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
        rich_markup_mode=None,  # Rich's tables cut long names off where a terminal has 80 columns
    )
    app.callback()(_root)
    for part in sorted(entry_points(group=GROUP) if parts is None else parts, key=lambda part: part.name):
        try:
            part.load()(app)
        except Exception as error:  # noqa: BLE001 (one broken part must not break the others)
            broken[part.name] = error
    _list_whole(app)
    return app


class _Command(TyperCommand):
    """Lists options under their headings, each with its whole name."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        listed: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                kind = "Arguments" if param.param_type_name == "argument" else "Options"
                listed.setdefault(getattr(param, "rich_help_panel", None) or kind, []).append(record)
        for heading, records in listed.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def get_short_help_str(self, limit: int = _WHOLE) -> str:
        return super().get_short_help_str(max(limit, _WHOLE))


class _Group(TyperGroup):
    def get_short_help_str(self, limit: int = _WHOLE) -> str:
        return super().get_short_help_str(max(limit, _WHOLE))


def _list_whole(app: typer.Typer) -> None:
    for command in app.registered_commands:
        command.cls = _Command
    for group in app.registered_groups:
        group.cls = _Group
        if group.typer_instance is not None:
            _list_whole(group.typer_instance)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"veriphoto {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    for sentence in unknown_variables(os.environ, known_variables(context.command)):
        typer.echo(f"warning: {sentence}", err=True)


def _group(broken: Mapping[str, Exception]) -> type[TyperGroup]:
    class Group(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return sorted(super().list_commands(ctx), key=lambda name: (*_ORDER, name).index(name))

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
