"""What a file's metadata claims, as answers hold it. Importing this needs nothing that reads files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Provenance:
    """Four claims; each a JSON object whose ``status`` is ``present`` or ``absent``."""

    c2pa: Mapping[str, Any]
    digital_source_type: Mapping[str, Any]
    generation_parameters: Mapping[str, Any]
    camera: Mapping[str, Any]
    complete: bool = True
    """False where reading the metadata took too long, met a bound or failed, so that ``absent`` says nothing at all."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Provenance:
        """Reads what ``to_json`` has written.

        Raises:
            KeyError: If a claim is missing; TypeError if one is no object.
        """
        return cls(
            c2pa=MappingProxyType({**body["c2pa"]}),
            digital_source_type=MappingProxyType({**body["digital_source_type"]}),
            generation_parameters=MappingProxyType({**body["generation_parameters"]}),
            camera=MappingProxyType({**body["camera"]}),
            complete=bool(body["complete"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {
            "c2pa": dict(self.c2pa),
            "digital_source_type": dict(self.digital_source_type),
            "generation_parameters": dict(self.generation_parameters),
            "camera": dict(self.camera),
            "complete": self.complete,
        }
