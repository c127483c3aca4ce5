"""The audit as files: one HTML page to look at, one JSON to compare."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from veriphoto_training.audit.result import Audit
from veriphoto_training.data.dataset import LABELS, Picture
from veriphoto_training.evaluation.pages import render, thumbnail

HTML_FILE: Final = "audit.html"
JSON_FILE: Final = "audit.json"
SHOWN: Final = 60
"""Pictures of a kind that the page shows."""
_EXAMPLES: Final = 6
_SMALL: Final = 72


def write_audit(audit: Audit, pictures: Mapping[str, Picture], output: Path) -> None:
    """Writes the page and the JSON.

    Args:
        audit: The findings.
        pictures: Pictures by the path that the audit names; only those on the page are opened.
        output: Directory; made if it is missing.
    """
    output.mkdir(parents=True, exist_ok=True)
    page = render(
        "audit.html.j2",
        audit=audit,
        shown=SHOWN,
        thumbnails={path: thumbnail(pictures[path].data) for path in _shown(audit) if path in pictures},
        examples=_examples([pictures[path] for path in sorted(pictures)]),
    )
    (output / HTML_FILE).write_text(page, encoding="utf-8")
    (output / JSON_FILE).write_text(json.dumps(audit.to_json(), indent=2) + "\n", encoding="utf-8")


def _shown(audit: Audit) -> set[str]:
    copies = audit.copies[:SHOWN]
    doubts = audit.model.doubts[:SHOWN] if audit.model else ()
    return {doubt.path for doubt in doubts} | {path for pair in copies for path in (pair.first, pair.second)}


def _examples(pictures: Sequence[Picture]) -> dict[tuple[str, str], list[str]]:
    by_source: dict[tuple[str, str], list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_source[LABELS[picture.label], picture.source].append(picture)
    return {
        key: [thumbnail(one.data, _SMALL) for one in members[:: max(1, len(members) // _EXAMPLES)][:_EXAMPLES]]
        for key, members in by_source.items()
    }
