"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from veriphoto_review.database.connection import Database

EXIT_SOME_BAD: Final = 1
Url = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="VERIPHOTO_REVIEW_DATABASE",
        help="sqlite:///FILE or postgresql://user@host/name. A password belongs in the variable or in ~/.pgpass.",
    ),
]


def _as_kept(shop: str | None) -> str | None:
    from veriphoto_review.database.connection import clean  # noqa: PLC0415 - see opened_at

    return None if shop is None else clean(shop)


Shop = Annotated[str | None, typer.Option(callback=_as_kept, help="Only the cases of this shop.")]


def opened_at(url: str) -> Database:
    """Opens the review database, which takes longer to import than a command line may take to answer.

    Args:
        url: URL of the database.

    Raises:
        DatabaseError: If it cannot be used.
    """
    from veriphoto_review.database.connection import Database  # noqa: PLC0415

    return Database(url)
