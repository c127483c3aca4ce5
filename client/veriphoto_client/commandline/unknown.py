"""Finds environment variables that look like settings and set nothing, because their names are misspelt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from veriphoto.environment import Variable
from veriphoto_client.commandline.options import ENV_PREFIX


def known_variables(command: Any) -> frozenset[str]:
    """Returns all environment variables that mean something.

    Args:
        command: The whole command line, as Typer makes it.
    """
    return frozenset({*_of_options(command), *Variable})


def unknown_variables(given: Iterable[str], known: frozenset[str]) -> Iterator[str]:
    """Yields a sentence about each variable with our prefix that means nothing.

    Args:
        given: Names of the variables that are set.
        known: Names of those that mean something.
    """
    by_rest = {name.removeprefix(ENV_PREFIX): name for name in known}
    for name in sorted(name for name in given if name.startswith(ENV_PREFIX) and name not in known):
        close = get_close_matches(name.removeprefix(ENV_PREFIX), by_rest, 1)
        meant = f"; did you mean {by_rest[close[0]]}?" if close else ""
        yield f"the environment variable {name} is unknown and sets nothing{meant}"


def _of_options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        names = parameter.envvar or ()
        yield from [names] if isinstance(names, str) else names
    for part in getattr(command, "commands", {}).values():
        yield from _of_options(part)
