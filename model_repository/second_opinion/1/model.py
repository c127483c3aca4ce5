"""Triton glue of ``second_opinion``: joins the classifier's answer with the encoder's, where a picture is worth asking.

In the embedded flavour this process runs the encoder itself; elsewhere Triton serves it as the model ``encoder``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from veriphoto.contract import CROPS, ENCODER, FEATURES, LOGIT, OPERATING_POINT, OPINIONS, PROBABILITY
from veriphoto.errors import ModelError
from veriphoto.opinions import open_opinions
from veriphoto.second_opinion import MODE_VARIABLE, Mode

_FIRST = (LOGIT, PROBABILITY, OPERATING_POINT)
_JOINT = (*_FIRST, OPINIONS)


class TritonPythonModel:
    """One instance, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens what the environment's mode needs; ``auto`` starts without an encoder, ``always`` does not."""
        embedded = '"embedded"' in args["model_config"]
        try:
            mode = Mode(os.environ.get(MODE_VARIABLE) or Mode.AUTO)
            repository = Path(args["model_repository"]).parent
            self._opinions = open_opinions(repository, mode, None if embedded else _ask_triton)
        except (ModelError, ValueError) as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers every request, each with its own response."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            crops = pb_utils.get_input_tensor_by_name(request, CROPS).as_numpy()
            first = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in _FIRST}
            rows = [
                self._opinions.joined(crops[place], {name: found[place : place + 1] for name, found in first.items()})
                for place in range(len(crops))
            ]
            tensors = [pb_utils.Tensor(name, np.concatenate([row[name] for row in rows])) for name in _JOINT]
        except Exception as error:  # noqa: BLE001  the caller gets no stack trace, the log no picture
            pb_utils.Logger.log_error(f"second_opinion failed: {type(error).__name__}")
            message = "internal error in second_opinion; see the server's log"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INTERNAL))
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _ask_triton(squares: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    request = pb_utils.InferenceRequest(
        model_name=ENCODER, requested_output_names=[FEATURES], inputs=[pb_utils.Tensor(CROPS, squares)]
    )
    response = request.exec()
    if response.has_error():
        raise RuntimeError(response.error().message())
    features: npt.NDArray[np.float32] = pb_utils.get_output_tensor_by_name(response, FEATURES).as_numpy()
    return features
