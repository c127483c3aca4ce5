"""Turns the settings into command line options, and the command ``veriphoto gateway``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, fields
from functools import wraps
from typing import Annotated, Any, Final, get_type_hints

import typer

from veriphoto.errors import MissingExtraError
from veriphoto_serving.gateway.settings import GatewaySettings, environment_variable
from veriphoto_serving.secrecy import conceal

PANEL: Final = "Gateway"


def with_settings(command: Callable[..., Any], leave_out: Collection[str] = ()) -> Callable[..., Any]:
    """Gives a command an option for each setting.

    Args:
        command: Takes ``settings`` as a dictionary, besides its own parameters.
        leave_out: Settings that the command decides itself.

    Returns:
        The command as Typer wants it.
    """
    hints = get_type_hints(GatewaySettings)
    chosen = [each for each in fields(GatewaySettings) if each.name not in leave_out]
    names = {each.name for each in chosen}

    @wraps(command)
    def wrapped(**values: Any) -> Any:
        settings = {name: values.pop(name) for name in names}
        return command(settings=settings, **values)

    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"]
    options = []
    for each in chosen:
        assert each.default is not MISSING, each.name  # noqa: S101 - the class gives every field a default
        option = typer.Option(envvar=environment_variable(each.name), help=each.metadata["help"], rich_help_panel=PANEL)
        kind = inspect.Parameter.KEYWORD_ONLY
        options.append(
            inspect.Parameter(each.name, kind, default=each.default, annotation=Annotated[hints[each.name], option])
        )
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    wrapped.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *options]}
    return wrapped


def gateway(settings: dict[str, Any]) -> None:
    """Start the REST gateway alone, in front of a Triton that runs elsewhere. `veriphoto serve` starts both."""
    try:
        from veriphoto_serving.gateway.server import run  # noqa: PLC0415 - a light command line without it
    except ImportError as error:
        raise MissingExtraError("gateway", error.name) from error
    conceal()
    run(GatewaySettings(**settings), ready=lambda address: typer.echo(f"Veriphoto's gateway listens at {address}"))
