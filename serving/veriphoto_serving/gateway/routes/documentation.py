"""The page that shows the API and tries it, from files of an installed package: it works where there is no internet."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

PAGE: Final = "/docs"
_TYPES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
OPEN_PAGES: Final = frozenset({PAGE, "/openapi.json", *(f"{PAGE}/{name}" for name in _TYPES)})
"""Paths of the page and of all that it loads; they need no key."""
_A_DAY: Final = {"Cache-Control": "public, max-age=86400"}

router: Final = APIRouter(include_in_schema=False)


@router.get(PAGE)
async def page() -> HTMLResponse:
    """The page; its addresses are relative, so that it works behind a path of a proxy too."""
    script, style, icon = (f".{PAGE}/{name}" for name in _TYPES)
    return get_swagger_ui_html(
        openapi_url="./openapi.json",
        title="Veriphoto",
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
    )


def _serve(name: str, kind: str) -> None:
    content = (files("fastapi_offline") / "static" / name).read_bytes()

    @router.get(f"{PAGE}/{name}")
    async def file() -> Response:
        return Response(content, media_type=kind, headers=_A_DAY)


for _name, _kind in _TYPES.items():
    _serve(_name, _kind)
