"""The examples of the OpenAPI description; a test holds each to its schema."""

from __future__ import annotations

from typing import Any, Final

_ID: Final = "7f2c0e3ad3b94d0f8d0e6a1c5b9e4f21"
_SCORE: Final[dict[str, Any]] = {
    "prediction": "ai_generated",
    "verdict": "ai_generated",
    "probability": 0.9736,
    "confidence": "high",
    "threshold": 0.62,
    "unsure_band": [0.44, 0.62],
    "reason": "",
    "logit": 3.608,
    "gates": {"min_side": 64.0, "max_blockiness": 3.2},
    "statistics": {
        "width": 1024.0,
        "height": 768.0,
        "bytes": 183204.0,
        "format": 0.0,
        "jpeg_quality": 88.2,
        "brightness": 141.7,
        "contrast": 58.3,
        "saturation": 44.1,
        "sharpness": 0.21,
        "blockiness": 1.08,
    },
    "inference_time_ms": 38.4,
    "model_version": 2,
    "second_opinion": {
        "asked": True,
        "first_probability": 0.8808,
        "first_logit": 2.0,
        "first_threshold": 0.58,
        "second_logit": 1.9,
    },
    "real_photos_this_high": 0.004,
    "provenance": {
        "c2pa": {"status": "absent"},
        "digital_source_type": {"status": "absent"},
        "generation_parameters": {"status": "absent"},
        "camera": {"status": "absent"},
        "complete": True,
    },
}
PREDICT: Final[dict[str, Any]] = {**_SCORE, "request_id": _ID}
BATCH: Final[dict[str, Any]] = {
    "results": [
        {"filename": "shoe.jpg", **_SCORE},
        {"filename": "notes.txt", "error": "not_an_image", "detail": "the file is not a picture"},
    ],
    "total": 2,
    "successful": 1,
    "failed": 1,
    "total_inference_time_ms": 61.2,
    "model_version": 2,
    "request_id": _ID,
}
ERROR: Final[dict[str, Any]] = {
    "error": "file_too_large",
    "detail": "the upload has more than the 20 MB allowed; send less, or a smaller copy",
    "request_id": _ID,
}
HEALTH: Final[dict[str, Any]] = {
    "status": "ok",
    "model_version": 2,
    "threshold": 0.62,
    "key": "shop",
    "feedback": False,
    "uptime_s": 86400.0,
    "canary": {"age_s": 1.4, "latency_ms": 21.3},
    "drift": {"state": "ok"},
    "version": "1.0.0",
}
FEEDBACK: Final[dict[str, Any]] = {"request_id": _ID, "truth": "real", "note": "the seller sent the raw file"}
INFER_REQUEST: Final[dict[str, Any]] = {
    "inputs": [{"name": "IMAGE", "shape": [1, 1], "datatype": "BYTES", "data": ["iVBORw0KGgo="]}],
    "outputs": [{"name": "PROBABILITY"}],
}
INFER: Final[dict[str, Any]] = {
    "model_name": "detector",
    "model_version": "1",
    "id": _ID,
    "parameters": {"request_id": _ID},
    "outputs": [{"name": "PROBABILITY", "datatype": "FP32", "shape": [1, 1], "data": [0.9736]}],
}
KSERVE_ERROR: Final[dict[str, Any]] = {
    "error": "[not_an_image] IMAGE[1]: the file is not a picture",
    "request_id": _ID,
}
