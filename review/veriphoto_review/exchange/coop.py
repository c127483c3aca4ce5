"""Coop, ROOST's moderation console: open cases go there as items; what its moderators decide comes back, signed.

Formats and signature are those of Coop's documentation (docs/api/items.md, docs/api/actions.md,
docs/development/api-auth.md of github.com/roostorg/coop).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx

from veriphoto.errors import ServiceError, ServiceUnavailableError, UsageError
from veriphoto.foreign_json import parse
from veriphoto_review.cases.case import Case, State, Truth
from veriphoto_review.cases.pictures import place_of
from veriphoto_review.cases.store import LONGEST_NOTE, CaseStore, Filter
from veriphoto_review.intake.feedback import FeedbackDesk, Receipt

CHANNEL: Final = "coop"
_AT_A_TIME: Final = 50
_PATIENCE_S: Final = 30.0
_PLACEHOLDER: Final = "{reference}"


@dataclass(kw_only=True)
class Sent:
    """What was sent."""

    items: int = 0
    without_url: list[int] = field(default_factory=list)
    """Cases whose picture has no address that Coop could open."""


def send_open_cases(
    store: CaseStore,
    *,
    url: str,
    key: str,
    item_type: str,
    photo_url: str = "",
    shop: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Sent:
    """Submits open cases as items. Coop takes an item that it has as a new version of it.

    Args:
        store: With the cases.
        url: Coop's address.
        key: Its API key.
        item_type: Id of an item type with the fields that ``item`` fills.
        photo_url: Address of a photo that is not at a URL, with ``{reference}`` in it.
        shop: Only of this one.
        progress: Told how many were sent.

    Raises:
        UsageError: If Coop refuses what is sent, with its reason.
        ServiceError: If Coop is away.
        DatabaseError: If the database refuses.
    """
    if photo_url and _PLACEHOLDER not in photo_url:
        raise UsageError(f"--photo-url {photo_url}: write {_PLACEHOLDER} where a photo's path belongs")
    sent = Sent()
    headers = {"X-API-KEY": key}
    with httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=_PATIENCE_S) as http:
        for some in _batches(store, item_type, photo_url, shop, sent):
            _post(http, some)
            sent.items += len(some)
            progress(sent.items)
    return sent


def item(case: Case, item_type: str, photo: str) -> dict[str, Any]:
    """Returns a case as Coop takes it; a photo keeps its id whichever version of the model has scored it."""
    return {
        "id": case.reference,
        "typeId": item_type,
        "data": {
            "photo": photo,
            "ai_probability": case.probability,
            "verdict": case.verdict,
            "model_version": case.model_version,
            "shop": case.shop,
            "seller": case.seller,
        },
    }


def _batches(
    store: CaseStore, item_type: str, photo_url: str, shop: str | None, sent: Sent
) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    for case in store.every(Filter(state=State.OPEN, shop=shop)):
        place = place_of(case)
        if not place.startswith(("https://", "http://")):
            place = photo_url.replace(_PLACEHOLDER, quote(case.reference)) if photo_url else ""
        if not place:
            sent.without_url.append(case.id)
            continue
        some.append(item(case, item_type, place))
        if len(some) == _AT_A_TIME:
            yield some
            some = []
    if some:
        yield some


def _post(http: httpx.Client, items: list[dict[str, Any]]) -> None:
    try:
        answer = http.post("/api/v1/items/async/", json={"items": items})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceUnavailableError(f"Coop at {http.base_url} does not answer: {error}") from error
    if answer.status_code in (401, 403):
        raise UsageError(f"Coop at {http.base_url} refuses the API key; see Settings, API Keys in Coop")
    if 400 <= answer.status_code < 500:
        raise UsageError(f"Coop refuses the items: {_reason(answer)}; compare the item type with docs/review.md")
    if not answer.is_success:
        raise ServiceError(f"Coop at {http.base_url} answered {answer.status_code}; send again later")


def _reason(answer: httpx.Response) -> str:
    try:
        first = answer.json()["errors"][0]
        return " ".join(str(first[name]) for name in ("title", "detail", "pointer") if first.get(name))
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"status {answer.status_code}"


def signed_by(public_key: bytes, body: bytes, signature: str) -> bool:
    """Whether a request body was signed with Coop's key: RSASSA-PKCS1-v1_5 with SHA-256, base64 in ``Coop-Signature``.

    Args:
        public_key: The webhook signature verification key, PEM.
        body: As it came, byte for byte.
        signature: The header.

    Raises:
        UsageError: If the key is not an RSA key in PEM.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only this needs it
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(public_key)
    except ValueError as error:
        raise UsageError("the public key is not PEM; copy it whole from Settings, API Keys in Coop") from error
    if not isinstance(key, RSAPublicKey):
        raise UsageError("the public key is not an RSA key; copy it whole from Settings, API Keys in Coop")
    try:
        key.verify(base64.b64decode(signature, validate=True), body, PKCS1v15(), SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def take_callback(desk: FeedbackDesk, body: bytes) -> Receipt | None:
    """Takes one signed callback as a decision about its item's photo.

    What an action means stands in its "Body" in Coop, which comes back as ``custom``: ``{"truth": "real"}`` or
    ``{"truth": "ai_generated"}`` for an action, ``{"accepted": "real", "rejected": "ai_generated"}`` for appeals.

    Args:
        desk: Takes truths.
        body: JSON, already verified.

    Returns:
        What became of it; None where it decides nothing: no truth in its body, or taken by a rule. A rule may have
        acted on our own score, which must not confirm itself.

    Raises:
        UsageError: If it is no callback of Coop's, or its truth is none.
        DatabaseError: If the database refuses; nothing has changed then.
    """
    try:
        told = parse(body)
        subject = told["item"]["id"]
        custom = told.get("custom") or {}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError("the body is no callback of Coop's") from error
    appeal = told.get("appealDecision")
    who = "appeal" if appeal else told.get("actorEmail")
    name = {"ACCEPT": "accepted", "REJECT": "rejected"}.get(str(appeal), "") if appeal else "truth"
    truth = custom.get(name) if isinstance(custom, Mapping) else None
    if truth is None or not who:
        return None
    if truth not in (Truth.REAL, Truth.AI) or not isinstance(subject, str) or not subject:
        raise UsageError(f"custom.{name} is {str(truth)[:40]!r}; use real or ai_generated in the action's body in Coop")
    notes = (told.get("decisionReason"), told.get("actorNote"))
    note = " / ".join(str(each) for each in notes if each)[:LONGEST_NOTE]
    return desk.take(kind="reference", value=subject, truth=truth, note=note, actor=f"Coop: {who}", channel=CHANNEL)
