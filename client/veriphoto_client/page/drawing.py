"""What the page draws by itself: the scale of probability, and the evidence over the photo."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from PIL import Image

from veriphoto.decoding import decode
from veriphoto.errors import ImageError
from veriphoto_client.page.words import likelihood

COLOURS: Final = {"real": "#1f77b4", "ai_generated": "#d62728", "unsure": "#6b6f76"}
_THUMBNAIL: Final = 96


def scale(probability: float, threshold: float, band: tuple[float, float]) -> str:
    """Draws the probability on a scale.

    Args:
        probability: That the picture is AI-generated.
        threshold: Where the prediction changes.
        band: Between these the verdict is unsure.

    Returns:
        HTML: a picture with its words for those who cannot see it.
    """
    left, right = 10.0, 390.0

    def at(value: float) -> float:
        return left + (right - left) * value

    said, (low, high) = likelihood(probability), map(likelihood, band)
    label = f"{said} probability of being AI-generated; unsure between {low} and {high}"
    anchor = "start" if probability < 0.15 else "end" if probability > 0.85 else "middle"
    # Each verdict in its colour, so that the mark never stands in a colour that the words contradict.
    parts = ((0.0, band[0], "real"), (band[0], band[1], "unsure"), (band[1], 1.0, "ai_generated"))
    bars = "".join(
        f'<rect x="{at(start):.1f}" y="30" width="{at(end) - at(start):.1f}" height="14" fill="{COLOURS[verdict]}"/>'
        for start, end, verdict in parts
        if end > start
    )
    # On a line of its own: a band near an end would lie under that end's words.
    middle = min(max(at(sum(band) / 2), left + 20), right - 20)
    svg = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 92" font-family="sans-serif">
{bars}
<line x1="{at(threshold):.1f}" x2="{at(threshold):.1f}" y1="24" y2="50" stroke="#31333f" stroke-dasharray="3 2"/>
<path d="M{at(probability):.1f} 46 l-7 12 h14 z" fill="#31333f"/>
<text x="{at(probability):.1f}" y="18" text-anchor="{anchor}" font-size="15" font-weight="700"
 fill="#31333f">{said}</text>
<text x="{left}" y="72" font-size="11" fill="#31333f">no sign</text>
<text x="{middle:.1f}" y="86" text-anchor="middle" font-size="11" fill="#31333f">unsure</text>
<text x="{right}" y="72" text-anchor="end" font-size="11" fill="#31333f">AI generator</text></svg>"""
    # Streamlit takes drawings out of HTML, and leaves pictures in.
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    return f'<img src="{source}" alt="{escape(label)}" style="width:100%;max-width:36rem">'


def gate(answer: Mapping[str, Any]) -> str:
    """Says what decided where it was not the score.

    Args:
        answer: The gateway's answer about a photo.

    Returns:
        A sentence with the numbers, empty where the score decided.
    """
    statistics, gates = answer["statistics"], answer["gates"]
    if answer["reason"] == "too_small":
        side = min(statistics["width"], statistics["height"])
        return f"Its shorter side has **{side:.0f} px**; photos are judged from {gates['min_side']:.0f} px on"
    if answer["reason"] == "too_degraded":
        blocks = statistics["blockiness"]
        return f"Its blockiness is **{blocks:.1f}**; photos are judged up to {gates['max_blockiness']:.1f}"
    return ""


def overlaid(content: bytes, overlay_png_base64: str, strength: float) -> Image.Image:
    """Lays the evidence over the photo.

    Args:
        content: The photo's file.
        overlay_png_base64: The gateway's picture.
        strength: 0 shows the photo, 1 the gateway's picture.

    Returns:
        The mixture, of the overlay's size.
    """
    overlay = Image.open(io.BytesIO(base64.b64decode(overlay_png_base64))).convert("RGB")
    photo = decode(content).image.resize(overlay.size)
    return Image.blend(photo, overlay, strength)


def thumbnail(content: bytes) -> str:
    """Shrinks a photo to the data URI of a JPEG; empty where it cannot be decoded."""
    try:
        image = decode(content).image
    except ImageError:
        return ""
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
