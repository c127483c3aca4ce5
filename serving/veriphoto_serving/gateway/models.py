"""The schemas of all answers, for the OpenAPI description; a test validates real answers against them."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from veriphoto.shared_names import LONGEST_REFERENCE
from veriphoto.verdict import Confidence, Label, Prediction, Reason
from veriphoto_client.sdk.detection import FeedbackStatus
from veriphoto_serving.gateway import examples

_SUBJECTS: Final = ("request_id", "sha256", "reference")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Claim(BaseModel):
    """What one kind of metadata claims."""

    model_config = ConfigDict(extra="allow")
    status: Literal["present", "absent"]


class ProvenanceAnswer(_Answer):
    """What the metadata claims; it never changes the score, and absence proves nothing."""

    c2pa: Claim = Field(
        description="C2PA manifest; `validity` is `valid` or `invalid`; `trusted`: known signer; `issuer` and "
        "`generator` from lists of known ones, else empty; `digital_source_type` of its actions."
    )
    digital_source_type: Claim = Field(
        description="IPTC DigitalSourceType in XMP; `value` from the vocabulary, else `unknown`."
    )
    generation_parameters: Claim = Field(
        description="What image generators leave; `fields` are names only, `tool` is the generator if it is known."
    )
    camera: Claim = Field(description="EXIF `make` and `model`, where they look like a camera's.")
    complete: bool = Field(
        description="False where the metadata could not be read to its end: then `absent` says nothing."
    )


class SecondOpinionSays(_Answer):
    """What the second opinion had to do with an answer."""

    asked: bool = Field(description="Whether a second model looked at the picture, and the probability is of both.")
    first_probability: float = Field(ge=0, le=1, description="The probability by the classifier alone.")
    first_logit: float = Field(description="Its logit.")
    first_threshold: float = Field(
        ge=0, le=1, description="Probability from which the classifier alone calls a picture AI-generated."
    )
    second_logit: float = Field(description="The second opinion's own logit, not calibrated; 0 where it was not asked.")


class Gates(_Answer):
    """Beyond these the verdict is `unsure`, whatever the probability."""

    min_side: float = Field(description="Shorter side in pixels under which a picture is too small to judge.")
    max_blockiness: float = Field(description="Blockiness above which it is too degraded.")


class Statistics(_Answer):
    """What was measured of the upright picture."""

    width: float
    height: float
    bytes: float = Field(description="Size of the file.")
    format: float = Field(description="0 JPEG, 1 PNG, 2 WebP, 3 HEIC, 4 AVIF.")
    jpeg_quality: float = Field(description="Estimated, 1 to 100; 0 where it is no JPEG.")
    brightness: float
    contrast: float
    saturation: float
    sharpness: float
    blockiness: float = Field(description="How clearly the 8-pixel grid of JPEG shows; 1 is not at all.")


class Score(_Answer):
    """The answer about one picture."""

    prediction: Prediction = Field(description="The side of the threshold.")
    verdict: Label = Field(description="As prediction, or `unsure`.")
    probability: float = Field(ge=0, le=1, description="Calibrated probability that the picture is AI-generated.")
    confidence: Confidence
    threshold: float = Field(ge=0, le=1)
    unsure_band: tuple[float, float] = Field(description="From the first up to the second the verdict is `unsure`.")
    reason: Reason = Field(description="Why the verdict is `unsure`; empty otherwise.")
    logit: float = Field(description="Of the probability, which is its sigmoid.")
    gates: Gates
    statistics: Statistics
    inference_time_ms: float = Field(ge=0)
    model_version: int
    second_opinion: SecondOpinionSays
    real_photos_this_high: float | None = Field(
        ge=0, le=1, description="Share of real product photos that score at least so high; null where it is not known."
    )
    provenance: ProvenanceAnswer


class PredictAnswer(Score):
    """Answer of `/predict`."""

    model_config = ConfigDict(json_schema_extra={"example": examples.PREDICT})
    request_id: str


class Box(_Answer):
    """A square of the upright picture, in pixels."""

    left: int
    top: int
    side: int


class ExplainAnswer(PredictAnswer):
    """Answer of `/predict/explain`."""

    evidence: list[list[list[float]]] = Field(description="[crop][row][column]; positive speaks for AI-generated.")
    evidence_bias: float = Field(
        description="The mean of the evidence plus this is the classifier's logit, `second_opinion.first_logit`."
    )
    boxes: list[Box] = Field(description="Where each crop lies.")
    overlay_png_base64: str = Field(description="The photo with the map over it.")
    explanation: str


class BatchScore(Score):
    """A scored file of a batch."""

    filename: str


class BatchFailure(_Answer):
    """A file of a batch that could not be scored."""

    filename: str
    error: str = Field(description="Stable code.")
    detail: str


class BatchAnswer(_Answer):
    """Answer of `/predict/batch`."""

    model_config = ConfigDict(json_schema_extra={"example": examples.BATCH})
    results: list[BatchScore | BatchFailure]
    total: int
    successful: int
    failed: int
    total_inference_time_ms: float
    model_version: int | None
    request_id: str


class FeedbackRequest(BaseModel):
    """What a caller found out; exactly one of the first three names the picture."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": examples.FEEDBACK},
    )
    request_id: str = Field(default="", max_length=128, description="As the answer had it; of a batch `id#place`.")
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$", description="Of the file.")
    reference: str = Field(
        default="", max_length=LONGEST_REFERENCE, description="As it was imported: path, URI or own id."
    )
    truth: Prediction = Field(description="What the picture really is.")
    note: str = Field(default="", max_length=2000, description="Why; part of the case.")

    @model_validator(mode="after")
    def _named_once(self) -> FeedbackRequest:
        if len([name for name in _SUBJECTS if getattr(self, name)]) != 1:
            raise ValueError("give one of request_id, sha256, reference")
        if len(self.reference.encode(errors="replace")) > LONGEST_REFERENCE:
            raise ValueError(f"the reference has more than {LONGEST_REFERENCE} bytes")
        return self

    @property
    def subject(self) -> tuple[str, str]:
        """By what the picture is named, and its name."""
        name = next(name for name in _SUBJECTS if getattr(self, name))
        return name, getattr(self, name)


class FeedbackAnswer(_Answer):
    """Answer of `/feedback`."""

    status: FeedbackStatus = Field(
        description="`reported`: the caller has no key, so a person decides; "
        "`waiting`: no case yet, remembered for it; `kept`: a reviewer has decided otherwise."
    )
    cases: int
    request_id: str


class ErrorAnswer(_Answer):
    """Every refusal."""

    model_config = ConfigDict(json_schema_extra={"example": examples.ERROR})
    error: str = Field(description="Stable code.")
    detail: str
    request_id: str


class CanaryAnswer(_Answer):
    """The last test picture that Triton scored."""

    age_s: float
    latency_ms: float


class HealthAnswer(_Answer):
    """Answer of `/health`."""

    model_config = ConfigDict(json_schema_extra={"example": examples.HEALTH})
    status: Literal["ok", "starting", "down", "draining"]
    reason: str | None = Field(default=None, description="Why the status is not `ok`; null where it is.")
    model_version: int | None
    threshold: float | None = Field(description="Of that version.")
    key: str | None = Field(description="Name of the key that was shown; null where it is missing or wrong.")
    feedback: bool = Field(description="Whether that key may send feedback here.")
    uptime_s: float
    canary: CanaryAnswer | None
    drift: dict[str, Any] = Field(description="`state`: `ok`, `drift`, `unknown` or `away`.")
    version: str


class AboutAnswer(_Answer):
    """Answer of `/`."""

    name: str
    version: str
    what: str
    documentation: str
    routes: list[str]


class PrivacyAnswer(BaseModel):
    """Answer of `/privacy`: a sentence on each kind of thing that is sent."""

    model_config = ConfigDict(extra="allow")
    pictures: str


class StateAnswer(_Answer):
    """Answer of the probes."""

    status: str


class DriftAnswer(BaseModel):
    """What the drift monitor reports, or that it is away."""

    model_config = ConfigDict(extra="allow")
    state: str
