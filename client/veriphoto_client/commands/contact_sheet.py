"""A contact sheet: one HTML file with a thumbnail of each photo, the most suspicious first."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Final

from veriphoto.decoding import decode
from veriphoto.errors import ImageError, UsageError, VeriphotoError
from veriphoto.verdict import frequency
from veriphoto_client.scan.rows import printable
from veriphoto_client.sdk.detection import Detection
from veriphoto_client.sdk.images import ImageInput, load

_SIDE: Final = 240
_COLOURS: Final = {"ai_generated": "#b42318", "unsure": "#8a6100", "real": "#1d6b3a"}
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Veriphoto: {title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><style>
body{{font:15px/1.4 system-ui,sans-serif;margin:1.5rem;color:#222;background:#fff}}
main{{display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:1rem}}
figure{{margin:0;padding:.5rem;border:1px solid #ddd;border-radius:6px;overflow-wrap:anywhere}}
img{{width:100%;height:240px;object-fit:contain;background:#f4f4f4}}b{{font-size:17px}}small{{color:#555}}
</style></head><body><h1>{title}</h1>
<p>The most suspicious first. A probability is an estimate, not proof.</p><main>
{figures}
</main></body></html>
"""


@dataclass(slots=True)
class ContactSheet:
    """Collects photos, at about 10 kB of memory each, and writes them all at the end."""

    path: Path
    _scored: list[tuple[float, str]] = field(default_factory=list)
    _failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.suffix.lower() not in (".html", ".htm") or not self.path.absolute().parent.is_dir():
            raise UsageError(f"{self.path}: a contact sheet is an .html file in a folder that exists")

    def add(self, name: str, image: ImageInput, answer: Detection | VeriphotoError) -> None:
        """Adds a photo. Decodes it, which takes milliseconds.

        Args:
            name: Name to show below it.
            image: The photo that was scored.
            answer: Its detection, or the error.
        """
        shown = f"<small>{escape(name)}</small>"
        if isinstance(answer, VeriphotoError):
            self._failed.append(f"<figure><b>not scored</b><br>{escape(answer.message)}<br>{shown}</figure>")
            return
        verdict = answer.verdict
        often = f"<br>{escape(frequency(answer.real_share))}" if answer.real_share is not None else ""
        why = f" ({escape(verdict.reason)})" if verdict.reason else ""
        self._scored.append(
            (
                verdict.probability,
                f'<figure>{_thumbnail(image)}<br><b style="color:{_COLOURS[verdict.verdict]}">'
                f"{verdict.verdict}{why} {verdict.probability:.4f}</b>{often}<br>{shown}</figure>",
            )
        )

    def write(self) -> None:
        """Writes the HTML file.

        Raises:
            UsageError: If it cannot be written.
        """
        figures = [figure for _, figure in sorted(self._scored, key=lambda each: -each[0])] + self._failed
        page = _PAGE.format(title=f"{len(figures)} picture{'s' * (len(figures) != 1)}", figures="\n".join(figures))
        try:
            self.path.write_text(printable(page), "utf-8")
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}; name another file") from error


def _thumbnail(image: ImageInput) -> str:
    try:
        photo = decode(load(image)).image
    except ImageError as error:  # the file has changed since it was scored
        return escape(error.message)
    photo.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode("ascii")}">'
