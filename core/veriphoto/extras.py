"""Packages that come with an extra of the distribution, for commands that cannot work without."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from veriphoto.errors import MissingExtraError


def needs_extra(extra: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a command that misses a package name the extra to install.

    Args:
        extra: Name of the extra.

    Returns:
        A decorator. The command then raises ``MissingExtraError`` where it raised ``ModuleNotFoundError``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(*arguments: Any, **options: Any) -> None:
            try:
                command(*arguments, **options)
            except ModuleNotFoundError as error:
                raise MissingExtraError(extra, error.name) from error

        return run

    return decorate
