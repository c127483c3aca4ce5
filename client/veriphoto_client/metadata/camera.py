"""Tells a camera from whatever else stands in EXIF's Make and Model."""

from __future__ import annotations

import re
from typing import Final

from veriphoto_client.metadata import exif
from veriphoto_client.metadata.exif import Exif

_MAKES: Final = re.compile(
    r"(apple|samsung|canon|nikon|sony|fuji|panasonic|olympus|om digital|pentax|ricoh|asahi|leica|hasselblad|phase one"
    r"|sigma|kodak|eastman kodak|casio|minolta|konica|gopro|dji|google|xiaomi|redmi|poco|huawei|honor|oppo|oneplus|vivo"
    r"|realme|motorola|lenovo|lg|htc|nokia|hmd|asus|sharp|zte|tecno|infinix|itel|meizu|nothing|fairphone|blackberry"
    r"|rim|microsoft|epson|seiko|hp|hewlett|polaroid|yi|xiaoyi|insta360|arashi|zeiss|carl zeiss|mamiya|jvc|tcl|alcatel"
    r"|wiko|bq|kyocera|fujitsu|agfa|benq|praktica|rollei|skydio|parrot|autel|flir|general imaging|vivitar|umidigi"
    r"|doogee|ulefone|oukitel|blackview|cubot|amazon|acer|sanyo|toshiba|philips|essential|raspberry ?pi|creative)\b",
    re.IGNORECASE,
)
_MODELS: Final = re.compile(
    r"iphone|ipad|pixel|nexus|galaxy|sm-|eos|powershot|coolpix|dsc-|ilce-|" + _MAKES.pattern, re.I
)
# Names of devices: no quotes, braces, colons or line ends, as prompts and JSON have.
_NAME: Final = re.compile(r"[^\W_][\w .,()/&+*'-]{0,47}")
_MOST_WORDS: Final = 7
_MOST_LOWER_CASE: Final = 3
_FEW: Final = 2


def camera(block: Exif) -> tuple[str, str] | None:
    """Returns make and model if they look like a camera's.

    Args:
        block: EXIF of the file.

    Returns:
        None where they are missing, or anything but names of a device. A known make is believed; an unknown one needs
        other fields that only cameras write.
    """
    make, model = (block.texts.get(tag, "").strip() for tag in (exif.MAKE, exif.MODEL))
    photographic = len(block.tags & exif.CAMERA)
    if not _plausible(make) or not (make or model):
        return None
    if not _plausible(model):
        # Next to a real camera's fields only the odd model is left out.
        return (make, "") if _MAKES.match(make) and photographic >= _FEW else None
    if photographic >= _FEW:
        return make, model
    # Names of devices have a digit or a capital; what is all small letters may be a word of somebody's own.
    device = not model or any(letter.isupper() or letter.isdigit() for letter in model)
    known = _MAKES.match(make) if make else _MODELS.match(model)
    return (make, model) if known and device else None


def _plausible(name: str) -> bool:
    if not name:
        return True
    words = name.split()
    return (
        _NAME.fullmatch(name) is not None
        and name.isprintable()
        and len(words) <= _MOST_WORDS
        and sum(word.isalpha() and word.islower() for word in words) <= _MOST_LOWER_CASE
    )
