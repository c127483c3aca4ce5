"""Which cases the desk shows: the store's filter, with a text to look for and what people decided."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_, select

from veriphoto_review.cases.case import Truth
from veriphoto_review.cases.store import Filter
from veriphoto_review.database.connection import clean
from veriphoto_review.database.schema import cases


@dataclass(frozen=True, kw_only=True, slots=True)
class Search(Filter):
    """Selects cases; a field that is None or empty selects all."""

    truth: Truth | None = None
    text: str = ""
    """A case's number, or a part of a seller's or a file's name. A number that no case has may be such a part."""

    def condition(self) -> ColumnElement[bool]:
        """Returns it in SQL."""
        parts = [Filter.condition(self)]
        if self.truth is not None:
            parts.append(cases.c.truth == self.truth)
        if text := clean(self.text).strip():
            seller = cases.c.seller.icontains(text, autoescape=True)
            named: ColumnElement[bool] = seller | cases.c.reference.icontains(text, autoescape=True)
            number = re.fullmatch(r"(?:case)?\s*#?\s*(\d{1,15})", text, re.IGNORECASE)
            if number:
                other = cases.alias()
                known = select(other.c.id).where(other.c.id == int(number[1])).exists()
                named = or_(cases.c.id == int(number[1]), and_(~known, named))
            parts.append(named)
        return and_(*parts)
