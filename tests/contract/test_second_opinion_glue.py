"""The second opinion's model.py, with a small encoder, against a stand-in of Triton's module."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from toy_encoder import POINT, toy_opinion, write_toy_encoder
from toy_model import REPOSITORY
from triton_stand_in import InferenceResponse, Request, Tensor

from veriphoto.contract import CONTRACT, CROPS, FEATURES, LOGIT, OPERATING_POINT, OPINIONS, PROBABILITY
from veriphoto.second_opinion import MODE_VARIABLE, sigmoid

GLUE = REPOSITORY / "second_opinion" / "1" / "model.py"
FIRST_POINT = [4.0, 0.9, 0.5, 0.9, 96.0, 50.0]
Start = Callable[..., object]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_toy_encoder(tmp_path)
    (tmp_path / "classifier" / "4").mkdir(parents=True)
    toy_opinion().write(tmp_path / "classifier" / "4")
    return tmp_path


@pytest.fixture
def start(load_model, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    def start(mode: str = "auto", *, embedded: bool = True):
        monkeypatch.setenv(MODE_VARIABLE, mode)
        model = load_model(GLUE).TritonPythonModel()
        parameters = {"encoder": {"string_value": "embedded"}} if embedded else {}
        config = json.dumps({"parameters": parameters})
        model.initialize({"model_repository": str(repository / "second_opinion"), "model_config": config})
        return model

    return start


def ask(*pictures: tuple[int, float]) -> Request:
    """Pictures as (brightness, classifier's logit)."""
    shape = (CONTRACT.crops, CONTRACT.crop_size, CONTRACT.crop_size, 3)
    crops = np.stack([np.full(shape, brightness, np.uint8) for brightness, _ in pictures])
    logits = np.float32([[logit] for _, logit in pictures])
    points = np.float32([FIRST_POINT] * len(pictures))
    arrays = {CROPS: crops, LOGIT: logits, PROBABILITY: 1 / (1 + np.exp(-logits)), OPERATING_POINT: points}
    return Request([Tensor(name, array) for name, array in arrays.items()])


def test_rows_are_joined_each_by_itself(start: Start) -> None:
    [response] = start().execute([ask((50, 3.0), (50, -3.0), (200, 3.0))])
    found = response.arrays()
    assert found[OPINIONS][:, 0].tolist() == [1.0, 0.0, 1.0]
    assert found[OPINIONS][:, 1].tolist() == [3.0, -3.0, 3.0]
    assert found[OPINIONS][:, 2].tolist() == pytest.approx([0.9] * 3)
    assert found[LOGIT][:, 0].tolist() == pytest.approx([7.75, -3.5, -7.25], abs=1e-4)
    assert found[PROBABILITY][:, 0].tolist() == pytest.approx([sigmoid(v) for v in found[LOGIT][:, 0]], rel=1e-5)
    assert found[OPERATING_POINT][:, 0].tolist() == [4.0] * 3
    assert found[OPERATING_POINT][:, 1].tolist() == pytest.approx([POINT.threshold] * 3)


@pytest.mark.parametrize(("mode", "asked"), [("auto", [1.0, 0.0]), ("always", [1.0, 1.0]), ("off", [0.0, 0.0])])
def test_the_environment_says_who_is_asked(start: Start, mode: str, asked: list[float]) -> None:
    [response] = start(mode).execute([ask((50, 3.0), (50, -3.0))])
    assert response.arrays()[OPINIONS][:, 0].tolist() == asked


def test_off_changes_no_bit(start: Start) -> None:
    request = ask((50, 3.0), (77, -0.123456))
    [response] = start("off").execute([request])
    given = {tensor.name(): tensor.as_numpy() for tensor in request.tensors}
    for name in (LOGIT, PROBABILITY, OPERATING_POINT):
        np.testing.assert_array_equal(response.arrays()[name], given[name])


def test_where_triton_serves_the_encoder_it_is_asked(start: Start, pb_utils: ModuleType) -> None:
    shown = []

    class Asked:
        def __init__(self, *, model_name: str, requested_output_names: list[str], inputs: list[Tensor]) -> None:
            self.name, self.inputs = model_name, inputs
            assert requested_output_names == [FEATURES]

        def exec(self) -> Asked:
            shown.append((self.name, self.inputs[0].as_numpy().shape))
            return self

        def has_error(self) -> bool:
            return False

    pb_utils.InferenceRequest = Asked
    pb_utils.get_output_tensor_by_name = lambda _response, name: Tensor(name, np.float32([[50.0, 1.0]]))
    [response] = start(embedded=False).execute([ask((200, 3.0))])
    assert shown == [("encoder", (1, CONTRACT.crop_size, CONTRACT.crop_size, 3))]
    assert response.arrays()[LOGIT][0, 0] == pytest.approx(7.75, abs=1e-4)


def test_a_failure_is_one_request_s(start: Start) -> None:
    broken = ask((50, 3.0))
    broken.tensors[3] = Tensor(OPERATING_POINT, np.float32([[4.0, 0.1, 0.5, 0.2, 96.0, 50.0]]))
    answers: list[InferenceResponse] = start().execute([broken, ask((50, 3.0))])
    assert answers[0].error is not None
    assert "second_opinion" in answers[0].error.message()
    assert answers[1].error is None


def test_always_needs_its_encoder_and_a_mode_is_one_of_three(
    start: Start, repository: Path, pb_utils: ModuleType
) -> None:
    (repository / "encoder" / "1" / "encoder.json").unlink()
    assert start("auto").execute([ask((50, 3.0))])[0].arrays()[OPINIONS][0, 0] == 0.0
    with pytest.raises(pb_utils.TritonModelException, match="make encoder"):
        start("always")
    with pytest.raises(pb_utils.TritonModelException, match="sometimes"):
        start("sometimes")
