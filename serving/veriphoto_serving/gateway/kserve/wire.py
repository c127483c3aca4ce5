"""From the body of an inference request to photos, and from detections to the body of its answer."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from veriphoto.contract import ENSEMBLE, IMAGE, MAX_FILE_BYTES
from veriphoto.errors import FileTooLargeError
from veriphoto_client import Detection
from veriphoto_serving.gateway.errors import BadRequestError, TooManyFilesError
from veriphoto_serving.gateway.kserve.schema import VERSION, InferInput, InferRequest
from veriphoto_serving.gateway.kserve.tensors import LENGTH_BYTES, LENGTH_HEADER, OUTPUT_SHAPES, encode_answer

HEAD_BYTES: Final = 64_000
"""Bytes of JSON besides the photos."""
JSON_BYTES: Final = (MAX_FILE_BYTES + 2) // 3 * 4 + HEAD_BYTES
"""A body in JSON: one photo of the largest size in base64, or several smaller ones."""

_MOST_MARKS: Final = 5_000
"""Commas, colons and brackets of a request: a body of nothing but those would become gigabytes of objects."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tensor that was asked for."""

    name: str
    binary: bool
    classes: int = 0
    """How many of its values to give, largest first, as ``value:index``; 0 gives the tensor."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request, read."""

    id: str
    photos: list[bytes]
    wanted: list[Wanted]


def one_photo(photo: bytes) -> Question:
    """Returns the question of a body that is a file."""
    return Question("", [photo], [Wanted(name, binary=True) for name in OUTPUT_SHAPES])


def read_question(body: bytearray, head: int | None, most: int) -> Question:
    """Reads a request.

    Args:
        body: The whole body; emptied, so that photos are in memory only once.
        head: Bytes of JSON in front; None where all of it is JSON.
        most: Photos that a request may hold.

    Returns:
        The question.

    Raises:
        BadRequestError: If the request cannot be read.
        TooManyFilesError: If it holds too many photos.
        FileTooLargeError: If one of them is too large.
    """
    request = _parse(body if head is None else body[:head])
    image = request.inputs[0]
    count = _count(image, most)
    if head is None:
        body.clear()
        photos = _from_json(image, count)
    else:
        photos = _from_binary(image, body, head, count)
    wanted = [
        Wanted(
            output.name,
            request.parameters.binary_data_output
            if output.parameters.binary_data is None
            else output.parameters.binary_data,
            output.parameters.classification,
        )
        for output in request.outputs or []
    ]
    everything = [Wanted(name, request.parameters.binary_data_output) for name in OUTPUT_SHAPES]
    return Question(request.id, photos, wanted or everything)


def write_answer(question: Question, detections: Sequence[Detection], request_id: str) -> tuple[bytes, int | None]:
    """Writes an answer.

    Args:
        question: Request that is answered.
        detections: One for each photo.
        request_id: Id in the prediction log.

    Returns:
        The body, and how much of it is JSON; None where all of it is.
    """
    answers = [encode_answer(detection) for detection in detections]
    outputs: list[dict[str, Any]] = []
    behind: list[bytes] = []
    for wanted in question.wanted:
        tensor = np.concatenate([answer[wanted.name] for answer in answers])
        values = _classes(tensor, wanted.classes) if wanted.classes else tensor
        output: dict[str, Any] = {
            "name": wanted.name,
            "datatype": "BYTES" if wanted.classes else "FP32",
            "shape": list(values.shape),
        }
        if wanted.binary:
            behind.append(_binary(values))
            output["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            output["data"] = values.ravel().tolist()
        outputs.append(output)
    head = json.dumps(
        {
            "model_name": ENSEMBLE,
            "model_version": VERSION,
            "id": question.id or request_id,
            "parameters": {"request_id": request_id},
            "outputs": outputs,
        }
    ).encode()
    return b"".join((head, *behind)), len(head) if behind else None


def _parse(document: bytearray) -> InferRequest:
    if sum(document.count(mark) for mark in (b",", b":", b"[", b"{")) > _MOST_MARKS:
        raise BadRequestError("the request's JSON has too many parts")
    try:
        return InferRequest.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadRequestError(
            f"the body is no inference request: {where + ': ' if where else ''}{first['msg']}; "
            f"send one input: {IMAGE}, BYTES, of shape [photos, 1]"
        ) from error


def _count(image: InferInput, most: int) -> int:
    count, width = image.shape
    if count < 1 or width != 1:
        raise BadRequestError(f"the shape of {IMAGE} is [photos, 1], with one photo at least")
    if count > most:
        raise TooManyFilesError(f"send {most} photos a request")
    return count


def _from_json(image: InferInput, count: int) -> list[bytes]:
    flat: list[Any] = []
    for element in image.data or []:
        flat += element if isinstance(element, list) else [element]
    if len(flat) != count:
        raise BadRequestError(f"{IMAGE}.data has {len(flat)} elements, and its shape says {count}")
    return [_decoded(element, index) for index, element in enumerate(flat)]


def _decoded(element: object, index: int) -> bytes:
    text = element.get("b64") if isinstance(element, dict) else element
    try:
        if not isinstance(text, str):
            raise ValueError(text)
        return _checked(base64.b64decode(text, validate=True), index)
    except (ValueError, binascii.Error) as error:
        raise BadRequestError(
            f"{IMAGE}[{index}] is not base64: JSON holds no bytes; send base64, or binary data ({LENGTH_HEADER})"
        ) from error


def _from_binary(image: InferInput, body: bytearray, head: int, count: int) -> list[bytes]:
    if image.data is not None or image.parameters.get("binary_data_size") != len(body) - head:
        raise BadRequestError(f"binary_data_size of {IMAGE} is not the number of bytes behind the JSON")
    places = []
    at = head
    for index in range(count):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(body[at:start], "little")
        if start > len(body) or at > len(body):
            raise BadRequestError(f"{IMAGE}[{index}] ends behind the body")
        places.append((start, at))
    if at != len(body):
        raise BadRequestError(f"there are bytes behind the last photo of {IMAGE}")
    photos = []
    for index, (start, end) in reversed(list(enumerate(places))):  # from the end, to give back what was copied
        photos.append(_checked(bytes(memoryview(body)[start:end]), index))
        del body[start:]
    return photos[::-1]


def _checked(photo: bytes, index: int) -> bytes:
    if len(photo) > MAX_FILE_BYTES:
        raise FileTooLargeError(
            f"{IMAGE}[{index}]: the file has more than {MAX_FILE_BYTES // 1_000_000} MB; send a smaller copy"
        )
    return photo


def _classes(tensor: npt.NDArray[np.float32], most: int) -> npt.NDArray[np.str_]:
    """Triton's classification extension: the largest values of each photo, as text."""
    flat = tensor.reshape(len(tensor), -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :most]
    return np.array([[f"{row[i]:f}:{i}" for i in places] for row, places in zip(flat, order, strict=True)])


def _binary(values: npt.NDArray[Any]) -> bytes:
    if values.dtype == np.float32:
        return bytes(values.astype("<f4").tobytes())
    texts = [str(text).encode() for text in values.ravel()]
    return b"".join(len(text).to_bytes(LENGTH_BYTES, "little") + text for text in texts)
