"""A model version in a form that can be sent to other processes, and the scorer that they make of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from veriphoto.contract import ENCODER, STATISTICS
from veriphoto.errors import ImageError, MissingExtraError
from veriphoto.manifest import Manifest, latest_version, read_manifest, sha256_file, verify_onnx
from veriphoto.opinions import EncoderPackage, Opinions, Tensors, fitting
from veriphoto.preprocessing import preprocess
from veriphoto.second_opinion import OPINION_FILE, Mode, SecondOpinion
from veriphoto.sessions import OUTPUTS, Session, open_session
from veriphoto.variants import Setup, choose
from veriphoto_client.scan.rows import Row, failed, scored
from veriphoto_client.sdk.answers import decode_answer


def chosen(model: Path, variant: str) -> tuple[Path, Manifest, Setup]:
    """Finds a version and checks that it may be run.

    Args:
        model: A version directory, or the model's directory to use its newest version.
        variant: A name of ``veriphoto.variants``, or ``AUTO``.

    Returns:
        The version's directory, its manifest, and the setup of the variant.

    Raises:
        ModelError: If the version must not be used, or does not have the variant.
    """
    directory = model if model.name.isdigit() else latest_version(model)
    manifest = read_manifest(directory)
    verify_onnx(directory, manifest)
    return directory, manifest, choose(directory, manifest, variant)


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """All that is needed to score with a version, so that no other node needs a model repository."""

    graph: bytes
    sha256: str
    """Hash of the graph."""
    version: int
    precision: str
    """OpenVINO's precision hint; empty for ONNX Runtime."""
    opinion: SecondOpinion | None = None
    """The version's second opinion; None if it has none or the mode is ``OFF``."""
    encoder: EncoderPackage | None = None
    """The encoder that the second opinion runs on."""
    mode: Mode = Mode.OFF
    opinion_sha256: str = ""
    """Hash of the version's ``second_opinion.json``; empty where there is no opinion."""

    @property
    def second_opinion(self) -> str:
        """Names the rule that scores are made by: the mode, the encoder and what was fitted for it."""
        encoder = self.encoder.encoder.identity if self.encoder else ""
        return " ".join(filter(None, (self.mode, encoder, self.opinion_sha256)))

    @classmethod
    def read(cls, model: Path, variant: str, mode: Mode = Mode.AUTO) -> ModelPackage:
        """Reads and checks a version.

        Args:
            model: A version directory, or the model's directory to use its newest version.
            variant: A name of ``veriphoto.variants``, or ``AUTO``.
            mode: When to ask the second opinion.

        Raises:
            ModelError: If the version must not be used, or does not have the variant.
        """
        directory, manifest, setup = chosen(model, variant)
        file = directory / setup.file
        encoder = EncoderPackage.read(directory.parent.parent / ENCODER / "1", mode)
        opinion = fitting(directory, encoder.encoder, manifest.model_version) if encoder else None
        return cls(
            graph=file.read_bytes(),
            sha256=sha256_file(file),
            version=manifest.model_version,
            precision=setup.precision,
            opinion=opinion,
            encoder=encoder.loaded() if encoder and opinion else None,
            mode=mode if opinion else Mode.OFF,
            opinion_sha256=sha256_file(directory / OPINION_FILE) if opinion else "",
        )

    def open(self) -> Judge:
        """Loads the graph for use by one thread.

        Raises:
            MissingExtraError: If the package that runs it is not installed.
        """
        try:
            features = self.encoder.open() if self.encoder else None
            encoder = self.encoder.encoder if self.encoder else None
            opinions = Opinions(lambda _: self.opinion, encoder, features, self.mode)
            return Judge(open_session(self.graph, self.precision), opinions)
        except ModuleNotFoundError as error:
            raise MissingExtraError("openvino" if self.precision else "local", error.name) from error


class Judge:
    """Scores files by the same steps as the served ensemble."""

    def __init__(self, session: Session, opinions: Opinions) -> None:
        self._session = session
        self._opinions = opinions

    def tensors(self, data: bytes) -> Tensors:
        """Scores one file.

        Args:
            data: The bytes of the file.

        Returns:
            The tensors that the served ensemble would answer with, each with a batch dimension of 1 in front.

        Raises:
            ImageError: If the picture cannot be scored.
        """
        prepared = preprocess(data)
        outputs = dict(zip(OUTPUTS, self._session(prepared.crops[None]), strict=True))
        return {**self._opinions.joined(prepared.crops, outputs), STATISTICS: prepared.statistics[None]}

    def __call__(self, data: bytes) -> Row:
        """Scores one file.

        Args:
            data: The bytes of the file.

        Returns:
            Its row without a path; it holds an error if the photo cannot be scored.
        """
        try:
            return scored("", decode_answer(self.tensors(data)))
        except ImageError as error:
            return failed("", error)
