"""Pages of one file each: nothing beside them, nothing fetched, everything from outside escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from veriphoto_client.page.words import likelihood
from veriphoto_review.reports.figures import MARGIN, RECENT_DAYS, Figures, Share


def render(template: str, **context: Any) -> str:
    """Fills a template of this package.

    Args:
        template: File name under ``templates``.
        **context: What it names.

    Returns:
        The page.
    """
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {each.__name__: each for each in (percent, likelihood, day, interval, part)}
    return environment.get_template(template).render(**context)


def report_page(found: Figures) -> str:
    """Renders the report."""
    groups = {"By shop": found.by_shop, "By model version": found.by_version, "By month": found.by_month}
    return render("report.html.j2", found=found, groups=groups, margin=MARGIN, days=RECENT_DAYS, reviews=reviews)


def percent(value: float | None) -> str:
    """Formats a share; a dash if it is not known."""
    return "–" if value is None else f"{value:.1%}"


def part(share: Share) -> str:
    """Formats a share of things that were counted: where next to nothing would look like nothing, in numbers."""
    shown = percent(share.value)
    return f"{share.hits or 'none'} of {share.trials}" if shown == "0.0%" else shown


def interval(share: Share) -> str:
    """Formats a share with its interval."""
    if share.value is None:
        return part(share)
    low, high = share.interval
    return f"{part(share)} ({low:.1%} to {high:.1%})"


def reviews(share: Share, there: int, kind: str) -> str:
    """Says how many more reviews a figure needs.

    Args:
        share: The figure.
        there: How many photos of the kind there are, judged or not.
        kind: What they are called.
    """
    if share.trials + share.needed <= there:
        return f"{share.needed} more"
    return f"not reachable with {there} {kind}" if there else "–"


def day(moment: float | None) -> str:
    """Formats a time."""
    return "–" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
