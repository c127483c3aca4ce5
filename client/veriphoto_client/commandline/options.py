"""Settings as dataclass fields that carry all that a command line needs to know about them, in one place."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

ENV_PREFIX: Final = "VERIPHOTO_"
_KEY: Final = "option"


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """How a field appears on the command line."""

    help: str
    panel: str | None
    """Heading under which ``--help`` lists it; None for the everyday options on top."""
    least: float | None
    most: float | None
    flag: bool
    """Whether it is a switch without a ``--no-`` counterpart."""
    variable: str | None
    """The environment variable that can set it, too; empty for the one named after the field, None for none."""


def option(
    default: Any,
    text: str,
    *,
    panel: str | None = None,
    least: float | None = None,
    most: float | None = None,
    flag: bool = False,
    variable: bool | str = True,
    secret: bool = False,
) -> Any:
    """Declares a field of a settings class that is also an option and an environment variable of the same name.

    Args:
        default: The default value.
        text: One sentence of help.
        panel: Heading under which ``--help`` lists it; None for the everyday options on top.
        least: Smallest number that is accepted.
        most: Largest number that is accepted.
        flag: Makes a switch without a ``--no-`` counterpart.
        variable: Whether an environment variable can set it, too; a name where it is not the field's.
        secret: Leaves the value out of ``repr``.
    """
    name = variable if isinstance(variable, str) else "" if variable else None
    shown = Option(help=text, panel=panel, least=least, most=most, flag=flag, variable=name)
    return field(default=default, repr=not secret, metadata={_KEY: shown})


def port(default: int, text: str, *, panel: str | None = None, variable: bool | str = True) -> Any:
    """Declares a TCP port; 0 picks a free one."""
    return option(default, f"{text}; 0 picks a free one.", panel=panel, least=0, most=65535, variable=variable)


def options_of(settings: type) -> list[tuple[Field[Any], Option]]:
    """Returns the fields of a settings class that are options, in their order.

    Args:
        settings: A dataclass.
    """
    return [(each, each.metadata[_KEY]) for each in fields(settings) if _KEY in each.metadata]


def environment_variable(name: str, option: Option) -> str | None:
    """Returns the environment variable of a setting, or None if it has none.

    Args:
        name: Name of the field.
        option: How the field appears on the command line.
    """
    return None if option.variable is None else option.variable or f"{ENV_PREFIX}{name.upper()}"
