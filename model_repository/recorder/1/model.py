"""Triton glue of ``recorder``: gives each answer to ``veriphoto.prediction_log`` and hands its tensors on as they are.

Every output of the ensemble comes from here, because Triton leaves out a step whose outputs a request does not ask for:
so no score gets out unrecorded, whatever tensors a client wants.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import triton_python_backend_utils as pb_utils

from veriphoto.contract import EVIDENCE, LOGIT, OPERATING_POINT, OPINIONS, PROBABILITY, STATISTICS
from veriphoto.prediction_log.metrics import Meter
from veriphoto.prediction_log.recorder import from_environment
from veriphoto.second_opinion import unasked

RECORDED = (LOGIT, PROBABILITY, STATISTICS, OPERATING_POINT, OPINIONS)


class TritonPythonModel:
    """One instance, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002
        """Opens the log that the environment names. Whatever is wrong with it costs lines, not the server."""
        logging.basicConfig(format="recorder: %(message)s", level=logging.INFO)  # stderr is the server's log
        self._recorder = from_environment(os.environ, Meter(pb_utils.MetricFamily))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Notes and answers every request, each with its own response."""
        return [self._pass_on(request) for request in requests]

    def finalize(self) -> None:
        """Writes what waits."""
        self._recorder.close()

    def _pass_on(self, request: Any) -> Any:
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in (*RECORDED, EVIDENCE)}
        if tensors[OPINIONS] is None:  # the ensemble has no step that asks anybody
            first = (tensors[name].as_numpy() for name in (LOGIT, OPERATING_POINT))
            tensors[OPINIONS] = pb_utils.Tensor(OPINIONS, unasked(*first))
        self._recorder.note(request.request_id(), [tensors[name].as_numpy() for name in RECORDED])
        return pb_utils.InferenceResponse(output_tensors=list(tensors.values()))
