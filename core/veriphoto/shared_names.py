"""Names by which processes of different packages find each other's files: Triton's, the shadow's, the review's."""

from __future__ import annotations

from typing import Final

TRITON_FOLDER: Final = "triton"
"""``var/triton/<http port>`` is the runtime directory of a Triton that ``veriphoto serve`` has started."""
SERVER_FILE: Final = "server.json"
"""In the runtime directory while the server runs: ``http_url``, ``admin_key``, ``model_repository`` and ``pid``."""
ADMIN_HEADER: Final = "admin-key"
"""HTTP header that unlocks Triton's restricted APIs; over gRPC it is ``triton-grpc-protocol-admin-key``."""

SHADOW_FOLDER: Final = "shadow"
"""``var/shadow``: everything about the model that the gateway scores pictures with in the shadow."""
CHALLENGER_FOLDER: Final = "challenger"
"""``var/shadow/challenger``: the model's ``model.onnx``, ``manifest.json`` and ``NUMBER_FILE``."""
NUMBER_FILE: Final = "model"
"""Holds the model's number in the registry."""
TALLY_FILE: Final = "tally.json"
"""``var/shadow/tally.json``: how the model compares with the served version."""

MONITOR_FOLDER: Final = "monitor"
"""``var/monitor``: the state of the drift monitor, which takes the folder for itself."""

REVIEW_FILE: Final = "review.prom"
"""``var/review.prom``: what reviewers found, which the drift monitor shows."""
REVIEW_DATABASE: Final = "sqlite:///var/review.db"
"""The review's database where no other is named."""

LONGEST_REFERENCE: Final = 2500
"""Bytes of a reference, shop or seller in the review database: PostgreSQL's indexes take about 2,700."""
