"""What a file's metadata claims, in plain sentences; the names of fields are for those who unfold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_TITLES: Final = {
    "c2pa": "Content credentials (C2PA)",
    "digital_source_type": "IPTC digital source type",
    "generation_parameters": "An AI generator's parameters",
    "camera": "Camera (EXIF)",
}
_GENERATED: Final = frozenset({"trainedAlgorithmicMedia", "algorithmicMedia"})
_PARTLY: Final = frozenset({"compositeWithTrainedAlgorithmicMedia", "compositeSynthetic"})


def claimed(claims: Mapping[str, Any]) -> str:
    """Says in one or two sentences what a file claims of its origin.

    Args:
        claims: ``provenance`` of the gateway's answer.
    """
    found = _present(claims)
    sentences = [sentence for sentence in (_generator(found), _camera(found.get("camera"))) if sentence]
    if not sentences and "c2pa" in found:
        sentences = ["The file carries content credentials that do not say how it was made."]
    if not sentences:
        sentences = ["The file does not say how it was made, which proves nothing."]
    if not claims.get("complete", True):
        sentences.append("Its metadata could not be read in full.")
    return " ".join(sentences)


def details(claims: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lists what each kind of metadata holds.

    Args:
        claims: ``provenance`` of the gateway's answer.

    Returns:
        For each kind its title, and ``absent`` or its fields.
    """
    found = _present(claims)
    return [(title, _fields(found[name]) if name in found else "absent") for name, title in _TITLES.items()]


def _present(claims: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {
        name: claim
        for name, claim in claims.items()
        if name in _TITLES and isinstance(claim, Mapping) and claim.get("status") == "present"
    }


def _generator(found: Mapping[str, Mapping[str, Any]]) -> str:
    credentials, parameters = found.get("c2pa", {}), found.get("generation_parameters")
    kinds = {found.get("digital_source_type", {}).get("value"), credentials.get("digital_source_type")}
    tool = (parameters or {}).get("tool") or credentials.get("generator")
    if kinds & _PARTLY:
        return f"The file says that a part of it was made with {tool or 'an AI generator'}."
    if tool or kinds & _GENERATED:
        return f"The file says that it was made with {tool or 'an AI generator'}."
    return "The file holds an AI generator's settings." if parameters is not None else ""


def _camera(camera: Mapping[str, Any] | None) -> str:
    if camera is None:
        return ""
    name = " ".join(f"{camera[key]}" for key in ("make", "model") if camera.get(key))
    return f"The file names a camera: {name}." if name else "The file names a camera."


def _fields(claim: Mapping[str, Any]) -> str:
    texts = [f"{key.replace('_', ' ')}: {_text(value)}" for key, value in claim.items() if key != "status"]
    return ", ".join(text for text in texts if not text.endswith(": ")) or "present"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else f"{'' if value is None else value}"
