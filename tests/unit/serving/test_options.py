from dataclasses import replace
from pathlib import Path

import pytest

from veriphoto.second_opinion import Mode
from veriphoto_serving.triton.installation import Installation
from veriphoto_serving.triton.options import RESTRICTED, Flavour, TritonOptions

WHEEL = Installation(binary=Path("/wheel/bin/tritonserver"), wheel=Path("/wheel"))
CONTAINER = Installation(binary=Path("/opt/tritonserver/bin/tritonserver"))
OPTIONS = TritonOptions(
    model_repository=Path("some models"), var=Path("/a b/var"), admin_key="secret", region_prefix="region_"
)
COMMON = [
    "--model-repository=models",
    "--model-control-mode=explicit",
    "--load-model=detector",
    "--disable-auto-complete-config",
    "--strict-readiness=true",
    "--exit-on-error=true",
    "--exit-timeout-secs=10",
    "--http-address=127.0.0.1",
    "--http-port=8000",
    "--grpc-address=127.0.0.1",
    "--grpc-port=8001",
    "--metrics-address=127.0.0.1",
    "--metrics-port=8002",
    "--metrics-config=summary_latencies=true",
    "--allow-sagemaker=false",
    "--allow-vertex-ai=false",
    "--http-restricted-api=shared-memory,model-repository,model-config,statistics,trace,logging:admin-key=secret",
    "--grpc-restricted-protocol=shared-memory,model-repository,model-config,statistics,trace,logging:admin-key=secret",
    "--backend-config=python,shm-region-prefix-name=region_",
    "--log-format=ISO8601",
]


def test_argv_of_the_wheels_server() -> None:
    assert OPTIONS.resolve(WHEEL).argv(WHEEL) == [
        "/wheel/bin/tritonserver",
        *COMMON,
        "--backend-directory=backends",
        "--allow-gpu-metrics=false",
        "--pinned-memory-pool-byte-size=0",
        "--model-config-name=embedded",
    ]


def test_argv_of_a_server_on_path_uses_its_own_backends() -> None:
    assert OPTIONS.resolve(CONTAINER).argv(CONTAINER) == ["/opt/tritonserver/bin/tritonserver", *COMMON]


def test_argv_names_the_flavour_that_was_asked_for() -> None:
    options = TritonOptions(model_repository=Path("models"), flavour=Flavour.TENSORRT)
    assert options.resolve(CONTAINER).argv(CONTAINER)[-1] == "--model-config-name=tensorrt"


def test_no_real_path_reaches_the_command_line() -> None:
    assert not [word for word in OPTIONS.argv(WHEEL)[1:] if " " in word or word.endswith("var")]


def test_port_zero_becomes_a_free_one_and_others_stay() -> None:
    options = TritonOptions(model_repository=Path("models"), http_port=0, grpc_port=0).resolve(WHEEL)
    assert len(set(options.ports)) == 3
    assert 0 not in options.ports
    assert options.metrics_port == 8002


def test_servers_have_their_own_key_regions_and_directory() -> None:
    one, other = (TritonOptions(model_repository=Path("models"), http_port=port) for port in (1, 2))
    assert one.admin_key != other.admin_key
    assert len(one.admin_key) == 64
    assert one.region_prefix != other.region_prefix
    assert one.runtime != other.runtime


@pytest.mark.parametrize(
    ("given", "directory"), [(None, "/a b/var/predictions"), ("", ""), ("/elsewhere/log", "/elsewhere/log")]
)
def test_models_are_told_where_the_prediction_log_is(given: str | None, directory: str) -> None:
    options = replace(OPTIONS, prediction_log=given, prediction_log_mb=12.5)
    assert options.environment == {
        "VERIPHOTO_PREDICTION_LOG": directory,
        "VERIPHOTO_PREDICTION_LOG_MB": "12.5",
        "VERIPHOTO_SECOND_OPINION": "auto",
    }


@pytest.mark.parametrize(
    ("flavour", "mode", "there", "loaded"),
    [
        (Flavour.ONNXRUNTIME, Mode.AUTO, True, True),
        (Flavour.ONNXRUNTIME, Mode.AUTO, False, False),
        (Flavour.ONNXRUNTIME, Mode.OFF, True, False),
        (Flavour.TENSORRT, Mode.ALWAYS, True, True),
        (Flavour.EMBEDDED, Mode.ALWAYS, True, False),
    ],
)
def test_the_encoder_is_loaded_where_triton_is_to_run_it(
    tmp_path: Path, flavour: Flavour, mode: Mode, there: bool, loaded: bool
) -> None:
    (tmp_path / "detector").mkdir()
    if there:
        (tmp_path / "encoder" / "1").mkdir(parents=True)
        (tmp_path / "encoder" / "1" / "encoder.json").touch()
        (tmp_path / "encoder" / "1" / "model.plan").touch()
    options = TritonOptions(model_repository=tmp_path, flavour=flavour, second_opinion=mode)
    flags = options.argv(CONTAINER)
    assert "--load-model=detector" in flags
    assert ("--load-model=encoder" in flags) is loaded


def test_the_key_is_not_printed_with_the_options() -> None:
    assert "secret" not in repr(OPTIONS)


@pytest.mark.parametrize("api", ["shared-memory", "model-repository", "trace", "logging"])
def test_what_could_change_the_server_is_restricted(api: str) -> None:
    assert api in RESTRICTED


def test_tensorrt_needs_a_plan_of_the_encoder(tmp_path: Path) -> None:
    for name in ("detector", "encoder/1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "encoder" / "1" / "encoder.json").touch()
    options = TritonOptions(model_repository=tmp_path, flavour=Flavour.TENSORRT)
    assert "--load-model=encoder" not in options.argv(CONTAINER)


def test_a_repository_that_is_not_veriphotos_is_loaded_whole(tmp_path: Path) -> None:
    assert "--load-model=*" in TritonOptions(model_repository=tmp_path).argv(CONTAINER)
