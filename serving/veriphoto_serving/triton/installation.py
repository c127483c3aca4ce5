"""Which tritonserver runs, what it needs around it, and the directory it runs in."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veriphoto.contract import ENSEMBLE
from veriphoto.environment import without_secrets
from veriphoto.sessions import PROCESS_ENVIRONMENT

BINARY: Final = "tritonserver"
STUB: Final = "triton_python_backend_stub"
CONFIG: Final = "config.pbtxt"
"""A model's configuration, in its folder."""
UNASKED: Final = Path("configs") / "unasked.pbtxt"
"""The ensemble's configuration without the step that asks for a second opinion."""
_WHEEL: Final = "pytriton"


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """A tritonserver on this machine."""

    binary: Path
    wheel: Path | None = None
    """The ``tritonserver`` directory of the nvidia-pytriton wheel; None for a server that brings its own backends."""

    @property
    def python_backend(self) -> dict[str, Path]:
        """The files of the Python backend by name: the wheel keeps one stub for each Python beside it."""
        if self.wheel is None:
            return {}
        backend = self.wheel / "backends" / "python"
        files = {file.name: file for file in sorted(backend.glob("*")) if file.is_file()}
        return {**files, STUB: self.wheel / "python_backend_stubs" / python_version() / STUB}


def find_installation(path: str | None = None) -> Installation | None:
    """Finds the server: one on PATH, as in NVIDIA's containers, before that of the wheel.

    Args:
        path: A PATH to search instead of the environment's.

    Returns:
        The server, or None if there is none.
    """
    found = shutil.which(BINARY, path=path)
    if found is not None:
        return Installation(binary=Path(found).absolute())
    spec = importlib.util.find_spec(_WHEEL)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        wheel = Path(location) / "tritonserver"
        if (wheel / "bin" / BINARY).is_file():
            return Installation(binary=wheel / "bin" / BINARY, wheel=wheel)
    return None


def python_version() -> str:
    """Returns the running Python's version as the wheel names its stubs, for example ``3.11``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def libpython_name() -> str:
    """Returns the name under which a stub looks for the Python library."""
    return f"libpython{python_version()}.so.1.0"


def find_libpython() -> Path | None:
    """Finds the shared library of the running Python, which the wheel's stubs are linked against."""
    library = sysconfig.get_config_var("LIBDIR")
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    places = [Path(sys.base_prefix) / "lib"]
    if library:
        # A Python that was moved after it was built still names the directory of its build here; a Debian one keeps
        # the library one level deeper.
        places = [Path(library), Path(library) / multiarch, *places]
    for place in places:
        if (place / libpython_name()).is_file():
            return place / libpython_name()
    return _known_to_the_loader(libpython_name())


def child_environment(installation: Installation, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment for the server.

    Args:
        installation: The server that will run.
        environment: What to start from; the process's own by default.

    Returns:
        The environment with the stub's needs in it: it takes site-packages from the first ``python3`` on PATH and
        finds its Python library through LD_LIBRARY_PATH.
    """
    child = without_secrets(os.environ if environment is None else environment)
    # The stub is told where Python is by PATH alone; a PYTHONHOME of another Python would stop it.
    child.pop("PYTHONHOME", None)
    for name, value in PROCESS_ENVIRONMENT.items():
        child.setdefault(name, value)
    if installation.wheel is None:
        return child
    child["PATH"] = _prepend(Path(sys.prefix) / "bin", child.get("PATH") or os.defpath)
    library = find_libpython()
    if library is not None:
        child["LD_LIBRARY_PATH"] = _prepend(library.parent, child.get("LD_LIBRARY_PATH", ""))
    return child


def link(target: Path, at: Path) -> None:
    """Makes a symbolic link, replacing another one in a single step.

    Links, not copies: the stub's library path is relative to where it really lies.

    Args:
        target: What the link points to.
        at: Where it lies.
    """
    if at.is_symlink() and at.readlink() == target:
        return
    fresh = at.with_name(f"{at.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(at)


def lay_out(repository: Path, at: Path, *, asks: bool) -> None:
    """Makes the directory that Triton takes its models from.

    Args:
        repository: The model repository.
        at: The path that Triton is told. It becomes a link to the repository or, where nobody is asked for a second
            opinion, a directory with a link to each model and the ensemble's shorter configuration. Either way Triton
            sees versions that are published later.
        asks: Whether somebody may be asked.
    """
    if at.is_dir() and not at.is_symlink():
        shutil.rmtree(at)
    shorter = repository / ENSEMBLE / UNASKED
    if asks or not shorter.is_file():
        link(repository, at)
        return
    at.unlink(missing_ok=True)
    ensemble = at / ENSEMBLE
    ensemble.mkdir(parents=True)
    for model in repository.iterdir():
        if model.name != ENSEMBLE:
            link(model, at / model.name)
    for part in (repository / ENSEMBLE).iterdir():
        link(part, ensemble / part.name)
    link(shorter, ensemble / CONFIG)


def _prepend(first: Path, rest: str) -> str:
    return os.pathsep.join([str(first), *filter(None, rest.split(os.pathsep))])


def _known_to_the_loader(name: str) -> Path | None:
    ldconfig = shutil.which("ldconfig") or shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if ldconfig is None:
        return None
    listing = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=False).stdout
    lines = (line.strip() for line in listing.splitlines())
    found = next((line.partition("=> ")[2] for line in lines if line.startswith(f"{name} ")), "")
    return Path(found) if found else None
