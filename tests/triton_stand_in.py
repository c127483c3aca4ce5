"""What a model.py sees of Triton, in plain Python: just enough of ``triton_python_backend_utils``."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

import numpy as np


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class TritonError:
    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG = range(4)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class TritonModelException(Exception):  # noqa: N818  Triton's name
    pass


@dataclass
class Request:
    tensors: list[Tensor]
    id: str = ""

    def request_id(self) -> str:
        return self.id


@dataclass
class InferenceResponse:
    output_tensors: list[Tensor] = field(default_factory=list)
    error: TritonError | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        return {tensor.name(): tensor.as_numpy() for tensor in self.output_tensors}


class Metric:
    """Keeps what it is told; in the end a histogram is its observations."""

    def __init__(self, labels: dict[str, str], buckets: list[float] | None) -> None:
        self.labels, self.buckets = labels, buckets
        self.observed: list[float] = []
        self.total = 0.0

    def observe(self, value: float) -> None:
        assert self.buckets == sorted(self.buckets or ())
        self.observed.append(value)

    def set(self, value: float) -> None:
        self.total = value

    def increment(self, by: float) -> None:
        assert by >= 0
        self.total += by


class MetricFamily:
    COUNTER, GAUGE, HISTOGRAM = range(3)
    made: ClassVar[dict[str, MetricFamily]] = {}

    def __init__(self, name: str, description: str, kind: int) -> None:
        self.name, self.kind = name, kind
        self.metrics: list[weakref.ref[Metric]] = []
        self.made[name] = self

    def Metric(self, labels: dict[str, str], buckets: list[float] | None = None) -> Metric:  # noqa: N802  Triton's name
        assert (buckets is not None) is (self.kind == self.HISTOGRAM)
        metric = Metric(labels, buckets)
        self.metrics.append(weakref.ref(metric))
        return metric

    def alive(self) -> list[Metric]:
        """Those that somebody still holds: Triton forgets the others."""
        return [metric for each in self.metrics if (metric := each()) is not None]


class Logger:
    lines: list[str]

    def __init__(self) -> None:
        self.lines = []

    def log_error(self, line: str) -> None:
        self.lines.append(line)


def _get_input_tensor_by_name(request: Request, name: str) -> Tensor | None:
    return next((tensor for tensor in request.tensors if tensor.name() == name), None)


def make_module() -> ModuleType:
    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor = Tensor
    module.TritonError = TritonError
    module.TritonModelException = TritonModelException
    module.InferenceResponse = InferenceResponse
    module.Logger = Logger()
    module.MetricFamily = type("MetricFamily", (MetricFamily,), {"made": {}})
    module.get_input_tensor_by_name = _get_input_tensor_by_name
    return module
