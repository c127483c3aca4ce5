"""Gives Typer commands their options from the settings classes that they take."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection
from dataclasses import is_dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from veriphoto_client.commandline.options import Option, environment_variable, options_of


def with_options(command: Callable[..., Any], leave_out: Collection[str] = ()) -> Callable[..., Any]:
    """Replaces each parameter that is a settings class by one option for each of its fields.

    Args:
        command: Takes instances of settings classes, besides parameters of its own.
        leave_out: Fields that the command sets itself.

    Returns:
        The command in the form that Typer expects.
    """
    signature = inspect.signature(command, eval_str=True)
    names: dict[str, list[str]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        settings = parameter.annotation
        if not is_dataclass(settings):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        assert isinstance(settings, type)  # noqa: S101 - an annotation is a class
        made = _parameters(settings, leave_out)
        names[parameter.name] = [each.name for each in made]
        parameters += made

    @wraps(command)
    def wrapped(**values: Any) -> Any:
        built = {
            name: signature.parameters[name].annotation(**{field: values.pop(field) for field in own})
            for name, own in names.items()
        }
        return command(**built, **values)

    # Typer breaks lines where the source does; whole paragraphs fit any width.
    wrapped.__doc__ = "\n\n".join(" ".join(text.split()) for text in (inspect.getdoc(command) or "").split("\n\n"))
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def _parameters(settings: type, leave_out: Collection[str]) -> list[inspect.Parameter]:
    hints = get_type_hints(settings)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[hints[field.name], _typer_option(field.name, option, hints[field.name])],
        )
        for field, option in options_of(settings)
        if field.name not in leave_out
    ]


def _typer_option(name: str, option: Option, kind: Any) -> Any:
    return typer.Option(
        *([f"--{name.replace('_', '-')}"] if option.flag else []),
        envvar=environment_variable(name, option),
        show_envvar=False,  # the command says once how they are called; a column of them would be half the screen
        help=option.help,
        min=option.least,
        max=option.most,
        callback=_finite if kind is float else None,
        rich_help_panel=option.panel,
    )


def _finite(value: float) -> float:
    """Refuses ``inf`` and ``nan``, which Python reads as numbers and no bound but a largest one keeps out."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value
