"""The training loop: resumable at any moment, with the same draws as if it had not been killed.

On a CPU the result is the same to the last bit. Some kernels of GPUs do not repeat themselves, in a run that goes
through either.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from veriphoto.errors import UsageError
from veriphoto.manifest import sha256_file
from veriphoto.variants import bfloat16_is_fast
from veriphoto_training.augment.alignment import Chain, whole
from veriphoto_training.augment.splice import splice
from veriphoto_training.data.appearance import looks
from veriphoto_training.data.balancing import Chances, look_weights
from veriphoto_training.data.dataset import Dataset, Picture, thin
from veriphoto_training.data.splits import Split
from veriphoto_training.network.depthwise import speed_up
from veriphoto_training.network.model import (
    CHECKPOINT_FILE,
    averaged,
    build_network,
    forward,
    freeze,
    normalise,
    save_checkpoint,
    write_atomically,
)
from veriphoto_training.network.published import is_published, measure_norms
from veriphoto_training.network.weights import describe_weights, load_weights
from veriphoto_training.opinion.teacher import Teacher
from veriphoto_training.recipes import Recipe
from veriphoto_training.run.batches import Maker, Sampler, batches
from veriphoto_training.run.loss import distance_to_teacher, training_loss
from veriphoto_training.run.progress import Progress
from veriphoto_training.scoring.logits import score, scoring_size
from veriphoto_training.scoring.metrics import auroc
from veriphoto_training.tracking import Tracker

LAST: Final = "last.pt"
_SPLICING: Final = 1
"""Sets the draws of regions apart from those of pictures."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: a recipe, its data and where its files go."""

    recipe: Recipe
    split: Split
    fingerprint: str
    output: Path
    weights: str
    teacher: Path | None = None
    """Targets of a second opinion, from ``Teacher.write``."""
    seed: int = 0
    """Random seed for the split and, with ``replica``, for everything that is drawn."""
    replica: int = 0
    """Another number draws other batches from the same split, for runs whose weights are to be averaged."""
    holdout_sources: tuple[str, ...] = ()
    holdout_generators: tuple[str, ...] = ()
    save_every: int = 100
    """Steps between resumable checkpoints."""
    stop_after: int | None = None
    """Stop, as if killed, after this many steps; for tests."""
    threads: int = 2
    """Threads that prepare pictures."""

    def metadata(self, run_id: str) -> dict[str, Any]:
        """Returns what a checkpoint records about its run, as plain values."""
        return {
            "run_id": run_id,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "replica": self.replica,
            "data_fingerprint": self.fingerprint,
            "weights": describe_weights(self.weights),
            "holdout_sources": list(self.holdout_sources),
            "holdout_generators": list(self.holdout_generators),
        }


@dataclass
class _State:
    step: int = 0
    best: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)


def train(job: Job, tracker: Tracker, progress: Progress) -> Path:
    """Trains, or resumes from ``last.pt`` in the output directory.

    Args:
        job: The run's settings and data.
        tracker: Records the figures.
        progress: Shows images/s and the time left.

    Returns:
        The best checkpoint.
    """
    return _Run(job, tracker, progress).go()


def resumable_run(output: Path) -> str | None:
    """Returns the run id of an unfinished run in a directory, or None."""
    path = output / LAST
    return str(torch.load(path, map_location="cpu", weights_only=True)["run_id"]) if path.is_file() else None


class _Run:
    def __init__(self, job: Job, tracker: Tracker, progress: Progress) -> None:
        self._job, self._tracker, self._progress = job, tracker, progress
        recipe = job.recipe
        self._teacher = Teacher.read(job.teacher) if job.teacher else None
        # Beside what its checkpoint says, what else must be the same for a run to go on: it shows in the draws alone.
        self._identity = {
            **job.metadata(""),
            "teacher": sha256_file(job.teacher) if job.teacher else "",
            "pictures": [len(job.split.train), len(job.split.validation)],
        }
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(_draws(job))
        network = build_network()
        # timm draws the head's weights from -1..1, far too wide for 1,280 features and one output.
        nn.init.normal_(network.classifier.weight, std=0.01)  # type: ignore[union-attr, arg-type]
        load_weights(job.weights, network)
        self._sampler = Sampler(job.split.train, recipe.balance, self._look_weights())
        if is_published(job.weights):
            first = next(batches(self._sampler, _maker(recipe), batch_size=64, seed=_draws(job), start=0, stop=1))
            measure_norms(network, normalise(torch.from_numpy(first[0]).flatten(0, 1)))
        network.drop_rate = recipe.dropout  # type: ignore[assignment]
        self._network: nn.Module = network.to(  # type: ignore[call-overload]
            self._device, memory_format=torch.channels_last
        )
        # What puts the network's features into the teacher's space; it is thrown away after training.
        taught = self._teacher.features.shape[1] if self._teacher else 1
        self._projection = nn.Linear(network.num_features, taught).to(self._device)  # type: ignore[arg-type]
        self._average = averaged(self._network, recipe.ema_decay)
        if self._device.type == "cpu":
            speed_up(self._network)
        freeze(self._network, recipe.frozen_stages)
        new = [*self._network.classifier.parameters(), *(self._projection.parameters() if self._teacher else ())]
        known = set(new)
        old = [p for p in self._network.parameters() if p.requires_grad and p not in known]
        self._optimizer = torch.optim.AdamW([*_groups(old, recipe, 1.0), *_groups(new, recipe, recipe.head_rate)])
        self._scaler = torch.amp.GradScaler(enabled=self._device.type == "cuda")
        self._epoch_steps = max(1, math.ceil(len(job.split.train) / recipe.batch_size))
        self._steps = self._epoch_steps * recipe.epochs
        self._state = _State()
        self._validation = thin(job.split.validation, max(1, recipe.validation_pictures // 2), "validate")

    def _look_weights(self) -> Chances | None:
        strength, pictures = self._job.recipe.balance_looks, self._job.split.train
        if not strength:
            return None
        teacher = self._teacher
        content = None if teacher is None else (lambda chosen: teacher.known(list(chosen))[1])
        self._progress.note(f"measuring the looks of {len(pictures)} photos, to balance them")
        return look_weights(pictures, looks(pictures, content), self._job.recipe.balance, strength)

    def go(self) -> Path:
        self._restore()
        job, recipe = self._job, self._job.recipe
        end = self._steps if job.stop_after is None else min(self._steps, job.stop_after)
        self._progress.start(self._steps, self._state.step, recipe.batch_size)
        began, begun_at, waited = time.perf_counter(), self._state.step, 0.0
        stream = batches(
            self._sampler,
            _maker(recipe),
            batch_size=recipe.batch_size,
            seed=_draws(job),
            start=self._state.step,
            stop=end,
            threads=job.threads,
        )
        while self._state.step < end:
            asked = time.perf_counter()
            views, pictures = next(stream)
            waited += time.perf_counter() - asked
            loss = self._step(torch.from_numpy(views), pictures)
            self._state.step += 1
            spent = time.perf_counter() - began
            speed = (self._state.step - begun_at) * recipe.batch_size / spent
            self._progress.update(self._state.step, loss, speed, waited / spent)
            if self._state.step % 20 == 0:
                figures = {"loss": loss, "images_per_second": speed, "data_wait_share": waited / spent}
                self._tracker.metrics(figures, self._state.step)
            ended = self._state.step % self._epoch_steps == 0
            if ended:
                self._validate()
            if ended or self._state.step % job.save_every == 0:
                self._save()
        self._progress.stop()
        return job.output / CHECKPOINT_FILE

    def _step(self, views: Tensor, pictures: list[Picture]) -> float:
        recipe = self._job.recipe
        self._network.train()
        if recipe.frozen_norms:
            for module in self._network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        for group in self._optimizer.param_groups:
            group["lr"] = group["multiple"] * _rate(recipe, self._state.step, self._steps)
        labels = torch.tensor([float(picture.label) for picture in pictures], device=self._device)
        targets = labels * (1.0 - recipe.label_smoothing) + recipe.label_smoothing / 2.0
        if self._teacher:
            logits, taught, known = (torch.from_numpy(x).to(self._device) for x in self._teacher.known(pictures))
            targets = torch.lerp(targets, logits.sigmoid(), recipe.teacher_share * known.float())
        draws = np.random.default_rng((_draws(self._job), self._state.step, _SPLICING))
        batch = splice(normalise(views.flatten(0, 1).to(self._device)), targets, recipe.splice_share, draws)
        cpu = self._device.type == "cpu"
        with torch.autocast(
            self._device.type, torch.bfloat16 if cpu else torch.float16, enabled=not cpu or bfloat16_is_fast()
        ):
            outputs = forward(self._network, batch.x_nchw)
        loss = training_loss(self._network, outputs, batch, targets, recipe.consistency)
        if self._teacher:
            projected = self._projection(outputs.pooled.float())
            loss = loss + recipe.teacher_features * distance_to_teacher(projected, taught, known & ~batch.mixed)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(loss))
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._network.parameters(), 5.0)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._average.update(self._network, self._state.step)
        return float(loss.detach())

    def _validate(self) -> None:
        recipe = self._job.recipe
        size = scoring_size(asdict(recipe))
        figures = {"epoch": self._state.step / self._epoch_steps}
        for delivery in ("clean",) if recipe.whole_picture else ("clean", "hard"):
            scores = score(self._average.module, self._validation, delivery, size=size)
            figures[f"validation_auroc_{delivery}"] = auroc(scores.labels, scores.logits)
            figures[f"validation_accuracy_{delivery}"] = float(((scores.logits > 0) == scores.labels).mean())
        self._tracker.metrics(figures, self._state.step)
        self._progress.note(", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
        self._state.history.append(figures)
        merit = float(np.mean([value for name, value in figures.items() if "auroc" in name]))
        # A validation part without one of the classes has no AUROC; the latest is then as good as any.
        if math.isnan(merit) or merit >= self._state.best:
            self._state.best = self._state.best if math.isnan(merit) else merit
            metadata = {**self._job.metadata(self._tracker.run_id), "step": self._state.step, "validation": figures}
            save_checkpoint(self._job.output / CHECKPOINT_FILE, self._average.module.state_dict(), metadata)

    def _save(self) -> None:
        body = {
            "run_id": self._tracker.run_id,
            "identity": self._identity,
            "state": asdict(self._state),
            "network": self._network.state_dict(),
            "average": self._average.module.state_dict(),
            "projection": self._projection.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_on_device": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
        }
        write_atomically(self._job.output / LAST, body)

    def _restore(self) -> None:
        path = self._job.output / LAST
        if not path.is_file():
            return
        body = torch.load(path, map_location="cpu", weights_only=True)
        if body["identity"] != self._identity:
            raise UsageError(
                f"{path} belongs to a run with another recipe, teacher, seed or data; "
                "give another --output or delete it"
            )
        self._network.load_state_dict(body["network"])
        self._average.module.load_state_dict(body["average"])
        self._projection.load_state_dict(body["projection"])
        self._optimizer.load_state_dict(body["optimizer"])
        self._scaler.load_state_dict(body["scaler"])
        torch.set_rng_state(body["random"])
        drawn = body.get("random_on_device")  # where dropout draws
        if drawn is not None and self._device.type == "cuda":
            torch.cuda.set_rng_state(drawn, self._device)
        self._state = _State(**body["state"])
        self._progress.note(f"going on at step {self._state.step} of {self._steps}")


def _maker(recipe: Recipe) -> Maker:
    if recipe.whole_picture:
        return partial(_whole, size=recipe.crop_size)
    if not recipe.align:
        raise UsageError("recipes of cropped pictures need align=True; unaligned data teach file formats")
    make: Callable[..., Any] = Chain.of(recipe)
    return make


def _groups(parameters: list[nn.Parameter], recipe: Recipe, multiple: float) -> list[dict[str, Any]]:
    matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    shared = {"lr": recipe.learning_rate, "multiple": multiple}
    return [
        {"params": matrices, "weight_decay": recipe.weight_decay, **shared},
        {"params": vectors, "weight_decay": 0.0, **shared},
    ]


def _draws(job: Job) -> int:
    return job.seed + 1_000_003 * job.replica


def _whole(data: bytes, rng: np.random.Generator, size: int) -> Any:
    return whole(data, size, rng)


def _rate(recipe: Recipe, step: int, steps: int) -> float:
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * done)))


def parts(dataset: Dataset, split: Split) -> dict[str, int]:
    """Returns the sizes that a run records with its figures."""
    return {
        "pictures": len(dataset.pictures),
        "broken": len(dataset.broken),
        "train": len(split.train),
        "validation": len(split.validation),
        "holdout": len(split.holdout),
    }
