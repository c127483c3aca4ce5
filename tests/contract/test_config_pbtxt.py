"""The hand-written configurations, parsed into Triton's own message and held to contract.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from toy_model import REPOSITORY
from tritonclient.grpc import model_config_pb2

from veriphoto import contract
from veriphoto.contract import CONTRACT

SIZE, CROPS, GRID = CONTRACT.crop_size, CONTRACT.crops, CONTRACT.grid
IMAGE = {contract.IMAGE: ("TYPE_STRING", [1])}
CROP = {contract.CROPS: ("TYPE_UINT8", [CROPS, SIZE, SIZE, 3])}
STATISTICS = {contract.STATISTICS: ("TYPE_FP32", [len(CONTRACT.statistics)])}
SCORES = {
    contract.PROBABILITY: ("TYPE_FP32", [1]),
    contract.LOGIT: ("TYPE_FP32", [1]),
    contract.EVIDENCE: ("TYPE_FP32", [CROPS, GRID, GRID]),
    contract.OPERATING_POINT: ("TYPE_FP32", [len(CONTRACT.operating_point)]),
}
OPINIONS = {contract.OPINIONS: ("TYPE_FP32", [len(contract.OPINION_VALUES)])}
ANSWER = SCORES | STATISTICS | OPINIONS
JOINED = (contract.LOGIT, contract.PROBABILITY, contract.OPERATING_POINT)
"""What the classifier said and both say together, under the same names."""
FIRST = {name: SCORES[name] for name in JOINED}
SQUARE = {contract.CROPS: ("TYPE_UINT8", [SIZE, SIZE, 3])}
FEATURES = {contract.FEATURES: ("TYPE_FP32", [-1])}
CLASSIFIER_FLAVOURS = {
    "classifier/config.pbtxt": ("onnxruntime", "model.onnx"),
    "classifier/configs/embedded.pbtxt": ("python", "model.py"),
    "classifier/configs/tensorrt.pbtxt": ("tensorrt", "model.plan"),
}
EXPECTED = {
    "detector/config.pbtxt": (contract.ENSEMBLE, IMAGE, ANSWER),
    "detector/configs/unasked.pbtxt": (contract.ENSEMBLE, IMAGE, ANSWER),
    "preprocess/config.pbtxt": (contract.PREPROCESS, IMAGE, CROP | STATISTICS),
    "second_opinion/config.pbtxt": (contract.SECOND_OPINION, CROP | FIRST, FIRST | OPINIONS),
    "second_opinion/configs/embedded.pbtxt": (contract.SECOND_OPINION, CROP | FIRST, FIRST | OPINIONS),
    "encoder/config.pbtxt": (contract.ENCODER, SQUARE, FEATURES),
    "encoder/configs/tensorrt.pbtxt": (contract.ENCODER, SQUARE, FEATURES),
    "recorder/config.pbtxt": (contract.RECORDER, ANSWER, ANSWER),
    **dict.fromkeys(CLASSIFIER_FLAVOURS, (contract.CLASSIFIER, CROP, SCORES)),
}


def parse(path: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse((REPOSITORY / path).read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def tensors(declared) -> dict[str, tuple[str, list[int]]]:
    return {each.name: (model_config_pb2.DataType.Name(each.data_type), list(each.dims)) for each in declared}


def test_every_configuration_is_checked_here() -> None:
    found = {str(path.relative_to(REPOSITORY)) for path in REPOSITORY.rglob("*.pbtxt")}
    assert found == set(EXPECTED)


@pytest.mark.parametrize("path", EXPECTED)
def test_names_types_and_shapes(path: str) -> None:
    config = parse(path)
    name, inputs, outputs = EXPECTED[path]
    assert config.name == name == Path(path).parts[0]
    assert config.max_batch_size == contract.MAX_BATCH_SIZE
    assert tensors(config.input) == inputs
    assert tensors(config.output) == outputs


@pytest.mark.parametrize("path", EXPECTED)
def test_the_newest_version_alone_is_served(path: str) -> None:
    assert parse(path).version_policy.latest.num_versions == 1


@pytest.mark.parametrize(("path", "backend"), CLASSIFIER_FLAVOURS.items())
def test_flavours_differ_in_backend_and_file_only(path: str, backend: tuple[str, str]) -> None:
    config = parse(path)
    assert (config.backend, config.default_model_filename) == backend
    assert len(config.instance_group) == 1
    assert config.dynamic_batching.default_queue_policy.max_queue_size > 0


def test_preprocess_runs_in_python_and_bounds_its_queue() -> None:
    config = parse("preprocess/config.pbtxt")
    assert config.backend == "python"
    assert config.dynamic_batching.default_queue_policy.max_queue_size > 0


def test_onnxruntime_keeps_to_one_thread_an_instance() -> None:
    parameters = parse("classifier/config.pbtxt").parameters
    assert parameters["intra_op_thread_count"].string_value == "1"
    assert parameters["inter_op_thread_count"].string_value == "1"


def test_the_ensemble_is_wired_through() -> None:
    """Steps follow the served version; every tensor goes by its own name, and every output comes from the recorder."""
    config = parse("detector/config.pbtxt")
    assert config.platform == "ensemble"
    steps = config.ensemble_scheduling.step
    names = [contract.PREPROCESS, contract.CLASSIFIER, contract.SECOND_OPINION, contract.RECORDER]
    assert [step.model_name for step in steps] == names
    assert {step.model_version for step in steps} == {-1}
    raw = {name: f"UNRECORDED_{name}" for name in ANSWER}
    first = {name: f"FIRST_{name}" for name in JOINED}
    crops, final = {name: name for name in CROP}, {name: name for name in ANSWER}
    expected = [
        ({name: name for name in IMAGE}, crops | {name: raw[name] for name in STATISTICS}),
        (crops, {contract.EVIDENCE: raw[contract.EVIDENCE]} | first),
        (crops | first, {name: raw[name] for name in (*JOINED, contract.OPINIONS)}),
        (raw, final),
    ]
    for step, (inputs, outputs) in zip(steps, expected, strict=True):
        assert dict(step.input_map) == inputs
        assert dict(step.output_map) == outputs


def test_where_nobody_is_asked_the_classifiers_answer_goes_to_the_recorder() -> None:
    """The same ensemble but for one step, whose share of the answer the recorder adds."""
    whole, shorter = parse("detector/config.pbtxt"), parse("detector/configs/unasked.pbtxt")
    _, classifier, asked, recorder = whole.ensemble_scheduling.step
    for first in JOINED:
        classifier.output_map[first] = f"UNRECORDED_{first}"
    del recorder.input_map[contract.OPINIONS]
    whole.ensemble_scheduling.step.remove(asked)
    assert shorter == whole
    assert [each.name for each in parse("recorder/config.pbtxt").input if each.optional] == [contract.OPINIONS]


@pytest.mark.parametrize(("path", "embedded"), [("config.pbtxt", False), ("configs/embedded.pbtxt", True)])
def test_the_second_opinion_turns_nobody_away(path: str, embedded: bool) -> None:
    """What has been scored by the classifier is answered; and only the embedded flavour runs the encoder itself."""
    config = parse(f"second_opinion/{path}")
    assert config.backend == "python"
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 0
    assert (config.parameters["encoder"].string_value == "embedded") is embedded


def test_the_recorder_turns_nobody_away() -> None:
    """One writer; and what has been scored is answered, however many wait."""
    config = parse("recorder/config.pbtxt")
    assert config.backend == "python"
    [group] = config.instance_group
    assert (group.count, group.kind) == (1, model_config_pb2.ModelInstanceGroup.KIND_CPU)
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 0


def test_the_ensemble_has_no_response_cache() -> None:
    """It would keep the answers of a classifier that has been replaced."""
    assert not parse("detector/config.pbtxt").response_cache.enable


def test_each_model_has_a_version() -> None:
    for model in (
        contract.ENSEMBLE,
        contract.PREPROCESS,
        contract.CLASSIFIER,
        contract.SECOND_OPINION,
        contract.ENCODER,
        contract.RECORDER,
    ):
        assert any(path.name.isdigit() for path in (REPOSITORY / model).iterdir())
