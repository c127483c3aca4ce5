"""The commands ``veriphoto review to-...`` and ``from-...``: other tools' ways in and out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from veriphoto.environment import Variable
from veriphoto.errors import UsageError
from veriphoto.shared_names import REVIEW_DATABASE
from veriphoto.visible import visible
from veriphoto_review.options import EXIT_SOME_BAD, Shop, Url, opened_at

if TYPE_CHECKING:
    from veriphoto_review.cases.store import Filter

_SHOWN: Final = 20
Chosen = Literal["open", "confirmed", "overturned", "undecided", "all"]


def to_label_studio(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tasks.json and labeling-config.xml.")],
    database: Url = REVIEW_DATABASE,
    state: Annotated[Chosen, typer.Option(help="Which cases.")] = "open",
    shop: Shop = None,
    document_root: Annotated[
        Path,
        typer.Option(
            envvar="LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT", help="Label Studio's root for photos in local files."
        ),
    ] = Path("/"),
) -> None:
    """Write cases as Label Studio tasks, with the model's answer filled in."""
    from veriphoto_review.cases.store import CaseStore  # noqa: PLC0415 - a light command line without these
    from veriphoto_review.exchange.label_studio import write_tasks  # noqa: PLC0415

    chosen = _filter(state, shop)
    sent = write_tasks(CaseStore(opened_at(database)), output, chosen, document_root=document_root)
    typer.echo(f"{output}: {sent.tasks} tasks")
    _tell(sent.left_out)


def from_label_studio(
    annotations: Annotated[Path, typer.Argument(help="Label Studio's export of the project, in the format JSON.")],
    database: Url = REVIEW_DATABASE,
) -> None:
    """Take Label Studio annotations as decisions. The same export again changes nothing.

    Exit code: 0, or 1 where annotators disagree or a task is not understood.
    """
    from veriphoto_review.exchange.label_studio import read_annotations  # noqa: PLC0415 - a light command line

    returned = read_annotations(opened_at(database), annotations)
    typer.echo(f"{annotations}: {returned.summary()}")
    for complaint in returned.complaints[:_SHOWN]:
        typer.echo(f"  {visible(complaint)}", err=True)
    if returned.complaints:
        raise typer.Exit(EXIT_SOME_BAD)


def to_fiftyone(
    output: Annotated[Path, typer.Option("--output", "-o", help="An empty folder, or that of an earlier run.")],
    database: Url = REVIEW_DATABASE,
    state: Annotated[Chosen, typer.Option(help="Which cases.")] = "all",
    shop: Shop = None,
) -> None:
    """Write cases and copies of their photos as a FiftyOneDataset."""
    from veriphoto_review.cases.store import CaseStore  # noqa: PLC0415 - a light command line without these
    from veriphoto_review.exchange.fiftyone import write_dataset  # noqa: PLC0415

    count, missing = write_dataset(CaseStore(opened_at(database)), output, _filter(state, shop))
    typer.echo(f"{output}: {count} samples")
    _tell(missing)


def to_coop(
    url: Annotated[str, typer.Option(envvar="VERIPHOTO_COOP_URL", help="Coop's address: https://host.")],
    item_type: Annotated[str, typer.Option(help="Id of the item type in Coop; docs/review.md lists its fields.")],
    database: Url = REVIEW_DATABASE,
    photo_url: Annotated[
        str, typer.Option(help="Address of photos that are files here, such as https://photos.example/{reference}.")
    ] = "",
    shop: Shop = None,
) -> None:
    """Send open cases to Coop as items. Set VERIPHOTO_COOP_API_KEY to an API key of Coop."""
    from rich.console import Console  # noqa: PLC0415 - a light command line without these

    from veriphoto_review.cases.store import CaseStore  # noqa: PLC0415
    from veriphoto_review.exchange.coop import send_open_cases  # noqa: PLC0415

    key = os.environ.get(Variable.COOP_API_KEY, "")
    if not key:
        raise UsageError(f"set {Variable.COOP_API_KEY} to an API key of Coop; see Settings, API Keys there")
    store = CaseStore(opened_at(database))
    with Console(stderr=True).status("sending", spinner="line") as status:
        sent = send_open_cases(
            store,
            url=url,
            key=key,
            item_type=item_type,
            photo_url=photo_url,
            shop=shop,
            progress=lambda count: status.update(f"{count} items"),
        )
    typer.echo(f"{url}: {sent.items} items")
    _tell(dict.fromkeys(sent.without_url, "its photo has no URL; see --photo-url"))


def from_coop(
    public_key: Annotated[
        Path, typer.Option(help="PEM file with Coop's webhook signature verification key (Settings, API Keys).")
    ],
    database: Url = REVIEW_DATABASE,
    host: Annotated[str, typer.Option(help="Address to listen on; a proxy in front speaks HTTPS.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8504,
) -> None:
    """Listen for what Coop's moderators decide, and take it as decisions. Runs until it is stopped."""
    from veriphoto_review.exchange.coop_listener import CoopListener  # noqa: PLC0415 - a light command line
    from veriphoto_review.intake.feedback import FeedbackDesk  # noqa: PLC0415

    with CoopListener((host, port), FeedbackDesk(opened_at(database)), public_key) as listener:
        typer.echo(f"listening on http://{host}:{listener.server_port}")
        try:
            listener.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped")


COMMANDS: Final[Mapping[str, Callable[..., None]]] = {
    "to-label-studio": to_label_studio,
    "from-label-studio": from_label_studio,
    "to-fiftyone": to_fiftyone,
    "to-coop": to_coop,
    "from-coop": from_coop,
}


def _filter(state: Chosen, shop: str | None) -> Filter:
    from veriphoto_review.cases.case import State  # noqa: PLC0415 - a light command line without these
    from veriphoto_review.cases.store import Filter  # noqa: PLC0415

    return Filter(state=None if state == "all" else State(state), shop=shop)


def _tell(left_out: Mapping[int, str]) -> None:
    for number, reason in list(left_out.items())[:_SHOWN]:
        typer.echo(f"  case {number}: {visible(reason)}", err=True)
    if left_out:
        typer.echo(f"left out: {len(left_out)}", err=True)
        raise typer.Exit(EXIT_SOME_BAD)
