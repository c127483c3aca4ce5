from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from toy_model import REPOSITORY
from triton_stand_in import make_module

LoadModel = Callable[[Path], ModuleType]


@pytest.fixture
def pb_utils(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The stand-in for Triton's module, gone from sys.modules after the test."""
    module = make_module()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture
def load_model(pb_utils: ModuleType) -> LoadModel:
    """Loads a model.py under no name of sys.modules, as new each time."""

    def load(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location("model_under_test", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def preprocess_model(load_model: LoadModel):
    model = load_model(REPOSITORY / "preprocess" / "1" / "model.py").TritonPythonModel()
    model.initialize({})
    return model
