"""The numbers and names that every part of Veriphoto agrees on.

They are fixed by the code, not by a training run (those live in ``manifest.json``). Nothing here may be typed again
anywhere else: training, the ONNX graph, the Triton configurations, the clients and the monitors all read this module,
and the ``config.pbtxt`` files, which cannot, are held to it by a test. Standard library only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """What a model version must agree with before anything may load it.

    A copy travels in every manifest; a manifest whose copy differs is refused.
    """

    crop_size: int = 224
    """Side S of a square crop, in pixels."""
    crops: int = 1
    """Number K of crops taken from one picture."""
    grid: int = 7
    """Side G of a crop's evidence map: EfficientNet-B0 has stride 32, so G = S / 32."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Channel means of RGB in 0..1 that the starting weights were trained with, applied inside the graph."""
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Channel deviations of RGB in 0..1, likewise."""
    labels: tuple[str, str] = ("real", "ai_generated")
    """Class names by index; PROBABILITY is that of the second."""
    statistics: tuple[str, ...] = (
        "width",
        "height",
        "bytes",
        "format",
        "jpeg_quality",
        "brightness",
        "contrast",
        "saturation",
        "sharpness",
        "blockiness",
    )
    """What ``preprocess`` measures of a picture, in the order of the STATISTICS tensor."""
    operating_point: tuple[str, ...] = (
        "model_version",
        "threshold",
        "unsure_low",
        "unsure_high",
        "min_side",
        "max_blockiness",
    )
    """What decides a verdict, in the order of the OPERATING_POINT tensor."""

    def to_json(self) -> dict[str, Any]:
        """Returns the contract as plain JSON values (tuples become lists)."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


CONTRACT: Final = Contract()

# Models of the Triton repository.
ENSEMBLE: Final = "detector"
PREPROCESS: Final = "preprocess"
CLASSIFIER: Final = "classifier"
ENCODER: Final = "encoder"
SECOND_OPINION: Final = "second_opinion"
RECORDER: Final = "recorder"

# Tensors. Shapes are without the batch dimension.
IMAGE: Final = "IMAGE"
"""BYTES [1]: an encoded file of one of ``FORMATS``."""
CROPS: Final = "CROPS"
"""UINT8 [K, S, S, 3]: RGB crops between preprocess and classifier."""
STATISTICS: Final = "STATISTICS"
"""FP32 [n]: see ``Contract.statistics``."""
LOGIT: Final = "LOGIT"
"""FP32 [1]: calibrated logit, joint where the second opinion was asked; PROBABILITY is its sigmoid."""
SAME_LOGIT: Final = 1e-2
"""Largest difference of two logits of one version for one picture that batching can explain."""
PROBABILITY: Final = "PROBABILITY"
"""FP32 [1]: calibrated probability that the picture is AI-generated."""
EVIDENCE: Final = "EVIDENCE"
"""FP32 [K, G, G]: contributions to the classifier's logit; their mean plus the manifest's evidence bias equals it."""
OPERATING_POINT: Final = "OPERATING_POINT"
"""FP32 [m]: see ``Contract.operating_point``; constants of the graph: an answer names the version that made it."""
FEATURES: Final = "FEATURES"
"""FP32 [D]: what the encoder sees in one crop."""
OPINIONS: Final = "OPINIONS"
"""FP32 [5]: see ``OPINION_VALUES``."""
OPINION_VALUES: Final = ("asked", "first_logit", "first_threshold", "second_logit", "real_share")
"""Whether the second opinion was asked (1 or 0); the classifier's calibrated logit and its own threshold; the second
opinion's logit; the share of real product photos that score at least as high as this picture, -1 where the version does
not know it."""

MAX_BATCH_SIZE: Final = 16
"""Largest batch Triton accepts for each model of the repository."""

# What may be uploaded.
FORMATS: Final = ("jpeg", "png", "webp", "heif", "avif")
"""Accepted formats; the index is the ``format`` statistic, so new ones go to the end."""
SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".hif", ".avif")
"""How files of those formats end, in lower case."""
MAX_FILE_BYTES: Final = 20 * 1000 * 1000
MAX_PIXELS: Final = 40_000_000
MAX_SIDE: Final = 12_000
MAX_DECODE_SECONDS: Final = 1.0
"""CPU time of decoding, as its header prices it."""
MAX_DECODE_BYTES: Final = 400 * 1000 * 1000
"""Memory of decoding at its peak, as its header prices it."""

# Margins, in calibrated logits between the probability and the cut it has passed, at which confidence changes its word.
CONFIDENCE_MEDIUM: Final = 1.0
CONFIDENCE_HIGH: Final = 2.5

ANONYMOUS: Final = "anonymous"
"""Name of all callers where the gateway needs no key."""

# Where things listen by default; all but the gateway on loopback only.
GATEWAY_PORT: Final = 8080
TRITON_HTTP_PORT: Final = 8000
TRITON_GRPC_PORT: Final = 8001
TRITON_METRICS_PORT: Final = 8002
SIDECAR_PORT: Final = 8003
