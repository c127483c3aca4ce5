"""The commands ``veriphoto review ...``: each parses its options, calls one function and prints the result."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from veriphoto.contract import GATEWAY_PORT
from veriphoto.errors import UsageError
from veriphoto.extras import needs_extra
from veriphoto.files import replace_text
from veriphoto.shared_names import REVIEW_DATABASE
from veriphoto.visible import visible
from veriphoto_review.defaults import AUDIT_SHARE
from veriphoto_review.exchange import commands as exchange
from veriphoto_review.options import EXIT_SOME_BAD, Shop, Url, opened_at

_extra = needs_extra("review")


def register(app: typer.Typer) -> None:
    """Adds this package's commands.

    Args:
        app: The command line to add to.
    """
    review = typer.Typer(no_args_is_help=True, help="Review cases, decide them, and learn from the decisions.")
    review.command("import")(_extra(import_command))
    review.command("report")(_extra(report_command))
    review.command("dispute")(_extra(dispute_command))
    review.command("export")(_extra(export_command))
    review.command("forget")(_extra(forget_command))
    review.command("retain")(_extra(retain_command))
    review.command("migrate")(_extra(migrate_command))
    for name, command in exchange.COMMANDS.items():
        review.command(name)(_extra(command))
    app.add_typer(review, name="review")


def import_command(
    sources: Annotated[
        list[str], typer.Argument(help="Verdicts: .csv, .jsonl, .parquet, or the folder or URI of a Ray scan.")
    ],
    database: Url = REVIEW_DATABASE,
    audit_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of photos called real that become cases too, drawn by hash.")
    ] = AUDIT_SHARE,
    shop: Annotated[str, typer.Option(help="Shop of rows that do not name one.")] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=COLUMN for a column with another name, such as seller=vendor_id; may be repeated."),
    ] = None,
    keep_pictures: Annotated[
        Path | None,
        typer.Option(
            envvar="VERIPHOTO_KEEP_PICTURES",
            help="Folder for copies of new cases' photos; none are kept by default. See `veriphoto review retain`.",
        ),
    ] = None,
) -> None:
    """Import verdicts. Flagged and unsure photos become cases, and a random share of the rest.

    Rows that were imported before change nothing. Exit code: 0, or 1 if some rows could not be read.
    """
    from rich.console import Console  # noqa: PLC0415 - a light command line without these

    from veriphoto_review.intake.files import batches  # noqa: PLC0415
    from veriphoto_review.intake.importing import ImportOptions, import_batches  # noqa: PLC0415

    options = ImportOptions(
        audit_share=audit_share, shop=shop, columns=_columns(column or []), keep_pictures=keep_pictures
    )
    bad = False
    found = opened_at(database)
    console = Console(stderr=True)
    for source in sources:
        with console.status(f"importing {source}", spinner="line") as status:
            done = import_batches(found, batches(source), options, lambda total: status.update(f"{total.rows} rows"))
        typer.echo(f"{source}: {done.summary()}")
        for complaint in done.complaints:
            typer.echo(f"  {visible(complaint)}", err=True)
        bad |= bool(done.bad)
    if bad:
        raise typer.Exit(EXIT_SOME_BAD)


def report_command(
    database: Url = REVIEW_DATABASE,
    shop: Shop = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML file.")] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="Write Prometheus metrics to this file; the monitor reads var/review.prom.")
    ] = None,
) -> None:
    """Report how often flags were right and how much is missed, by shop, version and month.

    Exit code: 0, or 1 if precision has fallen by more than chance explains.
    """
    from rich.console import Console  # noqa: PLC0415 - a light command line without these

    from veriphoto_review.reports.figures import figures  # noqa: PLC0415
    from veriphoto_review.reports.metrics import write_metrics  # noqa: PLC0415
    from veriphoto_review.reports.pages import interval, report_page  # noqa: PLC0415
    from veriphoto_review.reports.table import tables  # noqa: PLC0415

    found = figures(opened_at(database), shop=shop)
    with writing_to(html):
        if html:
            replace_text(html, report_page(found))
    with writing_to(metrics):
        if metrics:
            write_metrics(metrics, found)
    console = Console()
    for table in tables(found):
        console.print(table)
    if found.fallen:
        typer.echo(f"flags are right less often: {interval(found.recent)}, before {interval(found.earlier)}", err=True)
        raise typer.Exit(EXIT_SOME_BAD)


def dispute_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")],
    case: Annotated[int | None, typer.Argument(help="Case number.")] = None,
    reference: Annotated[str, typer.Option(help="The case of the photo with this path, URI or id.")] = "",
    database: Url = REVIEW_DATABASE,
    policy: Annotated[
        Path | None, typer.Option(help="TOML file with the platform's fields: ground, restriction, appeal, contact ...")
    ] = None,
    with_note: Annotated[
        bool, typer.Option("--with-note", help="Print the note of the decision, word for word, for the seller to read.")
    ] = False,
    gateway_url: Annotated[
        str, typer.Option(envvar="VERIPHOTO_GATEWAY_URL", help="The gateway that draws the evidence map.")
    ] = f"http://127.0.0.1:{GATEWAY_PORT}",
) -> None:
    """Write a report on one case for its seller, with the DSA's statement of reasons.

    Without a gateway the report has no evidence map. If the gateway needs an API key, set VERIPHOTO_API_KEY.
    """
    from veriphoto_client.page.gateway import Gateway  # noqa: PLC0415 - a light command line without these
    from veriphoto_review.cases.store import CaseStore  # noqa: PLC0415
    from veriphoto_review.reports.dispute import Policy, dispute_page  # noqa: PLC0415

    stated = Policy.read(policy) if policy else Policy()
    if (case is None) == (not reference):
        raise UsageError("name the case by its number or by --reference")
    store = CaseStore(opened_at(database))
    number = store.named(reference).id if case is None else case
    gateway = Gateway(gateway_url, os.environ.get("VERIPHOTO_API_KEY", ""))
    made = dispute_page(store, number, stated, gateway, with_note=with_note)
    with writing_to(output):
        replace_text(output, made.page)
    if made.missing:
        typer.echo(f"without evidence map: {visible(made.missing)}", err=True)
    typer.echo(f"written: {output}")


def export_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="An empty folder, or that of an earlier export.")],
    database: Url = REVIEW_DATABASE,
    shop: Shop = None,
) -> None:
    """Export decided cases as a data set for train, evaluate, calibrate --real, canary and models promote."""
    from rich.console import Console  # noqa: PLC0415 - a light command line without these

    from veriphoto_review.exchange.dataset import export_dataset  # noqa: PLC0415

    with Console(stderr=True).status("exporting", spinner="line") as status:
        done = export_dataset(
            opened_at(database), output, shop=shop, progress=lambda count: status.update(f"{count} cases")
        )
    typer.echo(f"{output}: {done.summary()}")
    for case, reason in list(done.missing.items())[:20]:
        typer.echo(f"  case {case}: {visible(reason)}", err=True)
    if done.missing:
        raise typer.Exit(EXIT_SOME_BAD)


def forget_command(
    database: Url = REVIEW_DATABASE,
    seller: Annotated[str, typer.Option(help="Forget all cases of this seller.")] = "",
    sha256: Annotated[str, typer.Option(help="Forget all cases of this photo.")] = "",
    reference: Annotated[str, typer.Option(help="Forget all cases with this path, URI or id.")] = "",
    shop: Shop = None,
    actor: Annotated[
        str, typer.Option("--by", envvar="USER", help="Who asks for it; kept in the history.")
    ] = "operator",
) -> None:
    """Remove cases with their notes, names and kept photos. The history keeps only that something was removed.

    The next `veriphoto review export` into an exported data set removes the photos there too. Exit code: 0, or 1 if
    nothing matches.
    """
    from veriphoto_review.cases.forgetting import forget  # noqa: PLC0415 - a light command line without it

    done = forget(opened_at(database), actor=actor, seller=seller, sha256=sha256, reference=reference, shop=shop)
    if done.cases or done.feedback:
        typer.echo(f"forgotten: {done.cases} cases, {done.pictures} kept copies, {done.feedback} waiting truths")
    else:
        typer.echo("nothing matches: no case and no waiting truth was forgotten", err=True)
    if done.kept:
        typer.echo(f"{done.kept} cases have no sha256; forget those by --reference or --seller", err=True)
    if not (done.cases or done.feedback):
        raise typer.Exit(EXIT_SOME_BAD)


def retain_command(
    database: Url = REVIEW_DATABASE,
    cases_days: Annotated[
        float | None,
        typer.Option(
            "--cases", min=0, envvar="VERIPHOTO_KEEP_CASES_DAYS", help="Days to keep a case after its decision."
        ),
    ] = None,
    pictures_days: Annotated[
        float | None,
        typer.Option("--pictures", min=0, envvar="VERIPHOTO_KEEP_PICTURES_DAYS", help="Days to keep copies of photos."),
    ] = None,
) -> None:
    """Remove cases and copies of photos that are past their retention time. Run it daily.

    Open cases stay, however old they are: decide them, or forget them. Copies go whether the case is decided or not.
    """
    from veriphoto_review.cases.forgetting import retain  # noqa: PLC0415 - a light command line without it

    if cases_days is None and pictures_days is None:
        raise UsageError("set --cases DAYS for decided cases, --pictures DAYS for copies of photos, or both")
    done = retain(opened_at(database), cases_days=cases_days, pictures_days=pictures_days)
    older = "" if cases_days is None else f"; {done.kept} open cases older than {cases_days:g} days stay"
    typer.echo(f"removed: {done.cases} cases, {done.pictures} kept copies{older}")


def migrate_command(database: Url = REVIEW_DATABASE) -> None:
    """Upgrade the tables of a database from an older release. Copy the database first."""
    from veriphoto_review.database.connection import Database, migrate  # noqa: PLC0415
    from veriphoto_review.database.schema import HEAD  # noqa: PLC0415

    migrate(Database.unchecked(database))
    typer.echo(f"the database is at schema {HEAD}")


@contextlib.contextmanager
def writing_to(path: Path | None) -> Iterator[None]:
    """Turns an error of the disk into one that says what to do."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; make room or name another") from error


def _columns(pairs: list[str]) -> dict[str, str]:
    from veriphoto_review.intake.rows import FIELDS  # noqa: PLC0415

    columns = {}
    for pair in pairs:
        field, _, column = pair.partition("=")
        if field not in FIELDS or not column:
            raise UsageError(f"--column {pair}: write FIELD=COLUMN with one of {', '.join(FIELDS)}")
        columns[column] = field
    return columns
