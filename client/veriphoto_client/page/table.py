"""Many answers at once: the page's table, and the CSV to take away."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from veriphoto_client.page.words import UNJUDGED, likelihood, worded

COLUMNS: Final = (
    "filename",
    "answer",
    "verdict",
    "probability",
    "confidence",
    "reason",
    "model_version",
    "error",
)


def rank(answer: Mapping[str, Any]) -> tuple[bool, float]:
    """Sorts answers: failures first, since something is to be done about them, then the likeliest."""
    return "error" not in answer, -(_probability(answer) or 0.0)


def table(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Makes rows of answers.

    Args:
        answers: As the gateway words them, good and bad, with ``thumbnail`` where there is one.

    Returns:
        One row each, in words for people but for the probability; what a narrow screen must show comes first.
    """
    return [
        {
            "photo": answer.get("thumbnail", ""),
            "filename": answer["filename"],
            "probability": _probability(answer),
            "answer": worded(answer),
        }
        for answer in answers
    ]


def sortable(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Prepares rows for ``st.dataframe``, which shows their probability in words and sorts it as a number.

    Args:
        rows: With ``photo``, and a ``probability`` that is None where no score counts.
    """
    from pandas import DataFrame  # noqa: PLC0415 - the command line needs none

    frame = DataFrame(rows).astype({"probability": float})
    worded = frame.style.format(likelihood, subset=["probability"], na_rep="")
    return worded.format(lambda _: "", subset=["photo"])  # or pictures would be sent a second time, as their own words


def to_csv(answers: Sequence[Mapping[str, Any]]) -> str:
    """Writes answers as CSV that spreadsheets can open without running anything that a file name may hold.

    Args:
        answers: As the gateway words them, good and bad.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for answer in answers:
        more = {"filename": _harmless(answer["filename"]), "answer": worded(answer)}
        writer.writerow({**answer, **more, "probability": _probability(answer)})
    return text.getvalue()


def _probability(answer: Mapping[str, Any]) -> float | None:
    return None if answer.get("reason") in UNJUDGED else answer.get("probability")


def _harmless(name: str) -> str:
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
