"""The probe on the encoder's features, judged on sources that it was not fitted on.

It is logistic regression and, where that orders unseen pictures better, the mean with a network of one hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from veriphoto.errors import DataError
from veriphoto.second_opinion import Hidden, probe_logits
from veriphoto_training.opinion.looks import Looks
from veriphoto_training.scoring.metrics import auroc

Floats = npt.NDArray[np.float64]

FOLDS: Final = 5
STRENGTHS: Final = (3e-4, 1e-3, 3e-3, 1e-2)
"""Inverse regularisation, of which sources left out choose one."""
BALANCE: Final = 0.5
"""A source of n pictures weighs n ** BALANCE: neither the largest decide alone, nor those of three pictures."""
_UNITS: Final = 64
_EPOCHS: Final = 10
_STEPS: Final = 400
"""Fewest steps: few pictures are shown more often."""
_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """How a probe is fitted."""

    strength: float
    """Inverse regularisation of the linear part, of features scaled to unit variance."""
    hidden: float = 0.0
    """Weight of the hidden layer's logit beside the linear one; 0 for none."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A function of features."""

    weights: Floats
    """[D]."""
    bias: float
    hidden: Hidden | None = None

    def __call__(self, features: npt.NDArray[np.float32]) -> Floats:
        """Returns logits [n]."""
        return probe_logits(features, self.weights, self.bias, self.hidden)


def source_weights(sources: npt.NDArray[np.str_], labels: npt.NDArray[np.int64]) -> Floats:
    """Weighs pictures so that both classes count alike, and a source by the root of its size.

    Args:
        sources: Source of each picture [n].
        labels: Class indices [n].
    """
    _, inverse, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weights: Floats = counts[inverse].astype(np.float64) ** (BALANCE - 1.0)
    for label in np.unique(labels):
        weights[labels == label] /= weights[labels == label].sum()
    return weights * len(labels) / len(np.unique(labels))


def fit_probe(looks: Sequence[Looks], settings: Settings, keep: npt.NDArray[np.bool_] | None = None) -> Probe:
    """Fits a probe.

    Args:
        looks: The same pictures in several deliveries.
        settings: How.
        keep: Mask of the pictures to fit on; all if None.
    """
    shown = _Shown.of(looks, keep)
    weights, bias = _fit_linear(shown, settings.strength)
    return Probe(weights, bias, _fit_hidden(shown, settings.hidden) if settings.hidden else None)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a probe learns from: features of unit variance, a row for each picture and delivery."""

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    weights: Floats
    mean: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]

    @classmethod
    def of(cls, looks: Sequence[Looks], keep: npt.NDArray[np.bool_] | None) -> _Shown:
        chosen = slice(None) if keep is None else keep
        labels, sources = looks[0].labels[chosen], looks[0].sources[chosen]
        features = np.concatenate([look.features[chosen] for look in looks])
        mean, spread = features.mean(axis=0), features.std(axis=0) + np.float32(1e-6)
        weights = np.tile(source_weights(sources, labels), len(looks)) / len(looks)
        return cls((features - mean) / spread, np.tile(labels, len(looks)), weights, mean, spread)


def _fit_linear(shown: _Shown, strength: float) -> tuple[Floats, float]:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - heavy, and of an extra

    model = LogisticRegression(C=strength, max_iter=400, tol=1e-3)
    model.fit(shown.features, shown.labels, sample_weight=shown.weights)
    slopes = (model.coef_[0] / shown.spread).astype(np.float64)
    return slopes, float(model.intercept_[0] - slopes @ shown.mean)


def _fit_hidden(shown: _Shown, factor: float) -> Hidden:
    """Trains one hidden layer of rectified units; the same data give the same layer.

    Args:
        shown: What it learns from.
        factor: What its logit is multiplied with.
    """
    import torch  # noqa: PLC0415 - heavy

    steps = max(_STEPS, _EPOCHS * len(shown.features) // _BATCH)
    features, labels, weights = (
        torch.from_numpy(each.astype(np.float32)) for each in (shown.features, shown.labels, shown.weights)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inward, outward = torch.nn.Linear(features.shape[1], _UNITS), torch.nn.Linear(_UNITS, 1)
        # Half of the features are hidden at each step, so that no few of them tell a source by themselves.
        network = torch.nn.Sequential(torch.nn.Dropout(0.5), inward, torch.nn.ReLU(), torch.nn.Dropout(0.2), outward)
        optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            batch = torch.randint(len(features), (_BATCH,))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                network(features[batch])[:, 0], 0.96 * labels[batch] + 0.02, weight=weights[batch]
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    first, biases, output = (each.detach().numpy() for each in (inward.weight, inward.bias, outward.weight[0]))
    first = first / shown.spread
    return Hidden.of(first, biases - first @ shown.mean, factor * output)


def folds(sources: npt.NDArray[np.str_], labels: npt.NDArray[np.int64], count: int = FOLDS) -> npt.NDArray[np.int64]:
    """Distributes whole sources over folds, so that each has about as many pictures of each class.

    Args:
        sources: Source of each picture [n].
        labels: Class indices [n].
        count: Number of folds.

    Returns:
        The fold of each picture [n].
    """
    fold = np.zeros(len(sources), np.int64)
    loads = np.zeros((count, 2))
    names, sizes = np.unique(sources, return_counts=True)
    for name in names[np.lexsort((names, -sizes))]:
        members = sources == name
        label = int(labels[members][0])
        place = int(np.argmin(loads[:, label]))
        fold[members] = place
        loads[place, label] += members.sum()
    return fold


def require_sources(looks: Looks, fewest: int) -> None:
    """Checks that pictures can be judged by what was fitted without their source.

    Raises:
        DataError: If a class has fewer sources.
    """
    for label, name in enumerate(("real", "AI")):
        count = len(np.unique(looks.sources[looks.labels == label]))
        if count < fewest:
            raise DataError(f"{count} sources of {name} pictures; judging on sources left out takes {fewest}")


def out_of_source(
    looks: Sequence[Looks], fit: Callable[[npt.NDArray[np.bool_]], Callable[[npt.NDArray[np.float32]], Floats]]
) -> list[Floats]:
    """Scores every picture by what was fitted without its source.

    Args:
        looks: The same pictures in several deliveries.
        fit: Fits on a mask of pictures, and returns what gives features their logits.

    Returns:
        Logits [n] for each delivery.
    """
    fold = folds(looks[0].sources, looks[0].labels)
    scores = [np.zeros(len(fold)) for _ in looks]
    for number in range(FOLDS):
        out = fold == number
        fitted = fit(~out)
        for score, look in zip(scores, looks, strict=True):
            score[out] = fitted(look.features[out])
    return scores


def choose_settings(looks: Sequence[Looks]) -> tuple[Settings, list[Floats]]:
    """Finds what orders pictures of unseen sources best, over all deliveries: regularisation first, then hidden layer.

    Args:
        looks: The same pictures in several deliveries.

    Returns:
        The settings, and scores for each delivery that were given without the picture's source.
    """
    labels = looks[0].labels

    def worth(scores: Sequence[Floats]) -> float:
        return sum(auroc(labels, each) for each in scores)

    linear = {strength: out_of_source(looks, partial(fit_probe, looks, Settings(strength))) for strength in STRENGTHS}
    strength = max(linear, key=lambda each: worth(linear[each]))
    hidden = out_of_source(looks, lambda keep: _fit_hidden(_Shown.of(looks, keep), 1.0))
    # Both count alike on sources left out: on those it was fitted on, the hidden layer is far too sure.
    factor = float(np.std(linear[strength]) / np.std(hidden))
    both = [straight + factor * bent for straight, bent in zip(linear[strength], hidden, strict=True)]
    if worth(both) > worth(linear[strength]):
        return Settings(strength, factor), both
    return Settings(strength), linear[strength]
