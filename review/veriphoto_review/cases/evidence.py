"""The evidence map of a case, drawn by the gateway when somebody looks; only the version that answered can explain."""

from __future__ import annotations

from veriphoto_client.page.gateway import Gateway, PageError, Photo
from veriphoto_review.cases.case import Case


class OtherVersionError(PageError):
    """The version that answered no longer runs."""


def overlay(case: Case, data: bytes, gateway: Gateway) -> str:
    """Has the map of a picture drawn.

    Args:
        case: Case that the picture belongs to.
        data: Bytes of the picture's file.
        gateway: Gateway that draws the map.

    Returns:
        The photo with the map over it, PNG in base64.

    Raises:
        PageError: If there is none; the message is for people.
    """
    answer = gateway.explain(Photo("photo", data))
    if answer["model_version"] != case.model_version:
        gone = f"Version {case.model_version} no longer runs"
        raise OtherVersionError(f"{gone}, and another one's map would not explain it.")
    drawn: str = answer["overlay_png_base64"]
    return drawn
