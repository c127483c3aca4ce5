"""MLServer: a custom runtime in one parallel worker a core; asked over gRPC, where the picture travels as bytes.

mlserver start FOLDER      (the benchmark writes settings.json and model-settings.json there)
"""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from scorer import Scorer


class Detector(MLModel):
    """The runtime."""

    async def load(self) -> bool:
        """Opens the session in the worker."""
        self._score = Scorer()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Scores the one picture of a request."""
        first = payload.inputs[0].data[0]
        data = first if isinstance(first, bytes) else bytes(first, "latin-1")
        score = np.array([[self._score(data)]], dtype=np.float32)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("probability", score)])
