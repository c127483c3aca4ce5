"""``veriphoto scan --engine ray``: scores catalogues of any size on a Ray cluster, into Parquet.

``run`` needs the extra ``ray``; the options do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from veriphoto.errors import MissingExtraError
from veriphoto_client.catalogue.options import CatalogueOptions

if TYPE_CHECKING:
    from rich.console import Console

    from veriphoto_client.catalogue.report import CatalogueReport

__all__ = ["CatalogueOptions", "scan_catalogue"]


def scan_catalogue(options: CatalogueOptions, console: Console) -> CatalogueReport:
    """Scans a catalogue; see ``engine.run``.

    Raises:
        MissingExtraError: If the extra ``ray`` is not installed.
    """
    try:
        from veriphoto_client.catalogue.engine import run  # noqa: PLC0415  Ray is an extra, and slow to import
    except ModuleNotFoundError as error:
        raise MissingExtraError("ray", error.name) from error
    return run(options, console)
