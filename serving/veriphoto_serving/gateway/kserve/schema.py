"""The schemas of KServe v2: requests are read with them, and the OpenAPI description shows them."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from veriphoto import __version__
from veriphoto.contract import ENSEMBLE, IMAGE, MAX_BATCH_SIZE
from veriphoto_serving.gateway import examples
from veriphoto_serving.gateway.kserve.tensors import OUTPUT_SHAPES

VERSION: Final = "1"
"""Triton's version of the ensemble. The classifier's is in OPERATING_POINT."""
EXTENSIONS: Final = ("binary_tensor_data", "classification", "model_configuration")

_LONGEST_ID: Final = 256
_MOST_CLASSES: Final = 100


class _Model(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class InferInput(_Model):
    """The photos of a request."""

    name: Literal["IMAGE"]
    datatype: Literal["BYTES"]
    shape: tuple[int, int] = Field(description="[photos, 1]")
    parameters: dict[str, Any] = Field(
        default={}, description="`binary_data_size` where the photos stand behind the JSON."
    )
    data: list[Any] | None = Field(
        default=None,
        description='Base64 of each file, as a string or as {"b64": string}, where they stand in the JSON.',
    )


class OutputParameters(_Model):
    """How one tensor is wanted."""

    binary_data: bool | None = None
    classification: int = Field(default=0, ge=0, le=_MOST_CLASSES)


class InferOutput(_Model):
    """A tensor that is asked for."""

    name: Literal["PROBABILITY", "LOGIT", "EVIDENCE", "STATISTICS", "OPERATING_POINT", "OPINIONS"]
    parameters: OutputParameters = OutputParameters()


class InferParameters(_Model):
    """What concerns the whole request; others are ignored."""

    binary_data_output: bool = False


class InferRequest(_Model):
    """Body of `/v2/models/detector/infer`, or its first part where the photos stand behind it."""

    id: str = Field(default="", max_length=_LONGEST_ID, description="Comes back in the answer.")
    parameters: InferParameters = InferParameters()
    inputs: list[InferInput] = Field(min_length=1, max_length=1)
    outputs: list[InferOutput] | None = Field(
        default=None, max_length=len(OUTPUT_SHAPES), description="All where none is named."
    )


class InferTensor(_Model):
    """A tensor of the answer."""

    name: str
    datatype: Literal["FP32", "BYTES"]
    shape: list[int] = Field(description="The number of photos in front.")
    data: list[float | str] | None = None
    parameters: dict[str, int] | None = Field(
        default=None, description="`binary_data_size` where the numbers stand behind the JSON."
    )


class InferParametersAnswer(_Model):
    """What the answer says besides its tensors."""

    request_id: str = Field(description="Under which the prediction log has the answer.")


class InferAnswer(_Model):
    """Answer of `/v2/models/detector/infer`."""

    model_config = ConfigDict(json_schema_extra={"example": examples.INFER})
    model_name: str
    model_version: str
    id: str
    parameters: InferParametersAnswer
    outputs: list[InferTensor]


class ServerMetadata(_Model):
    """What answers at `/v2`."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(_Model):
    """A tensor of the model."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(_Model):
    """The model as KServe describes one."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelConfig(_Model):
    """The model as Triton describes one: the part that clients read."""

    name: str
    platform: str
    max_batch_size: int
    input: list[dict[str, Any]]
    output: list[dict[str, Any]]


class KserveState(_Model):
    """Answer of the probes."""

    name: str
    ready: bool


class KserveError(_Model):
    """Every refusal under `/v2`."""

    model_config = ConfigDict(json_schema_extra={"example": examples.KSERVE_ERROR})
    error: str = Field(description="`[code] detail`: the code and words of the other routes.")
    request_id: str


def server_metadata() -> dict[str, Any]:
    """Returns the answer of ``/v2``."""
    return {"name": "veriphoto", "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata() -> dict[str, Any]:
    """Returns the answer of ``/v2/models/detector``."""
    outputs = [{"name": name, "datatype": "FP32", "shape": [-1, *shape]} for name, shape in OUTPUT_SHAPES.items()]
    return {
        "name": ENSEMBLE,
        "versions": [VERSION],
        "platform": "ensemble",
        "inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": outputs,
    }


def model_config(most: int) -> dict[str, Any]:
    """Returns the answer of ``/v2/models/detector/config``.

    Args:
        most: Photos that one request may hold.
    """
    outputs = [
        {"name": name, "data_type": "TYPE_FP32", "dims": list(shape), "label_filename": "", "is_shape_tensor": False}
        for name, shape in OUTPUT_SHAPES.items()
    ]
    image = {"name": IMAGE, "data_type": "TYPE_STRING", "format": "FORMAT_NONE", "dims": [1], "optional": False}
    return {
        "name": ENSEMBLE,
        "platform": "ensemble",
        "max_batch_size": min(most, MAX_BATCH_SIZE),
        "input": [image],
        "output": outputs,
    }
