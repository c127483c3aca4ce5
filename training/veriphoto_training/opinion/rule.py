"""Fits the rule on out-of-source scores: which pictures to ask about, how to join both scores, and the two cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CONTRACT
from veriphoto.second_opinion import Mode, Rule, SecondOpinion, ceiling
from veriphoto.verdict import OperatingPoint
from veriphoto_training.calibration.fit import MIN_SIDE, drift_reference
from veriphoto_training.opinion.looks import Looks
from veriphoto_training.opinion.probe import Floats, Probe, source_weights
from veriphoto_training.scoring.metrics import auroc, ece, sigmoid

FALSE_ALARMS: Final = 0.02
"""Share of real product photos that may be called AI-generated, in each delivery."""
MISSED: Final = 0.10
"""Share of AI pictures of unseen sources that may be called real."""
UNASKED: Final = 0.03
"""Share of AI pictures of unseen sources that may be lost by not asking about them."""
LEVELS: Final = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002)
"""Shares of real product photos whose scores are kept, for sentences like "1 in 100 real photos scores this high"."""
_ROUNDS: Final = 60


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Pictures whose scores both models gave without having learned from their source."""

    looks: Looks
    second: Floats
    """[n]: the probe's logits, out of source."""
    product: npt.NDArray[np.bool_]
    """[n]: product photos."""
    unseen: npt.NDArray[np.bool_]
    """[n]: pictures of sources that the classifier did not learn from; the probe's scores are out of source anyway."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices."""
        return self.looks.labels

    @property
    def weights(self) -> Floats:
        """[n]: classes alike, sources by the root of their size."""
        return source_weights(self.looks.sources, self.labels)


def fit_logistic(columns: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], weights: Floats) -> Floats:
    """Fits weights and a bias by Newton's method, with a faint pull of the weights towards 0.

    Args:
        columns: Columns to fit on [n, m].
        labels: Class indices [n].
        weights: Weight of each picture [n].

    Returns:
        The weights and, last, the bias [m + 1].
    """
    design = np.column_stack([columns, np.ones(len(columns))])
    found = np.zeros(design.shape[1])
    pull = np.append(np.full(columns.shape[1], 1e-2), 1e-6)
    for _ in range(_ROUNDS):
        p = sigmoid(design @ found)
        gradient = design.T @ (weights * (p - labels)) + pull * found
        curve = weights * p * (1.0 - p) + 1e-9
        step = np.linalg.solve(design.T @ (design * curve[:, None]) + np.diag(pull), gradient)
        found = found - step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
    return found


def weighted_quantile(values: Floats, weights: Floats, share: float) -> float:
    """Returns the value that ``share`` of the weight lies below."""
    order = np.argsort(values)
    passed = np.cumsum(weights[order])
    place = int(np.searchsorted(passed, share * passed[-1], side="left"))
    return float(values[order][min(place, len(order) - 1)])


def fit_rule(samples: Sequence[Sample]) -> Rule:
    """Fits the cut for asking and the joint logit.

    Args:
        samples: The same pictures in several deliveries.

    Returns:
        The rule. The classifier has a say in the joint score only where that orders unseen pictures better.
    """
    labels = np.concatenate([each.labels for each in samples])
    weights = np.concatenate([each.weights for each in samples])
    first = np.concatenate([each.looks.first for each in samples])
    second = np.concatenate([each.second for each in samples])
    unseen = np.concatenate([each.unseen for each in samples])
    ai = (labels == 1) & unseen
    ask_above = weighted_quantile(first[ai], weights[ai], UNASKED)
    both = fit_logistic(np.column_stack([first, second])[unseen], labels[unseen], weights[unseen])
    joined = auroc(labels[unseen], first[unseen] * both[0] + second[unseen] * both[1])
    if both[0] > 0.0 and joined > auroc(labels[unseen], second[unseen]) + 0.001:
        first_weight, second_weight, bias = (float(value) for value in both)
    else:
        alone = fit_logistic(second[:, None], labels, weights)
        first_weight, second_weight, bias = 0.0, float(alone[0]), float(alone[1])
    low = unseen & (first < ask_above)
    ruled_out = fit_logistic(first[low][:, None], labels[low], weights[low])
    return Rule(
        ask_above=ask_above,
        first_weight=first_weight,
        second_weight=second_weight,
        bias=bias,
        alone_weight=max(0.0, float(ruled_out[0])),
        alone_bias=float(ruled_out[1]),
    )


def joint_logits(rule: Rule, first: Floats, second: Floats, mode: Mode, below: float = np.inf) -> Floats:
    """Applies a rule to many pictures.

    Args:
        rule: The rule.
        first: The classifier's logits [n].
        second: The probe's logits [n].
        mode: When it is asked.
        below: Logit that pictures which are not asked about stay below.
    """
    asked = rule.first_weight * first + rule.second_weight * second + rule.bias
    if mode is Mode.ALWAYS:
        return asked
    alone = np.minimum(rule.alone_weight * first + rule.alone_bias, below)
    return np.where(first >= rule.ask_above, asked, alone)


def fit_point(samples: Sequence[Sample], rule: Rule) -> OperatingPoint:
    """Sets both cuts, each for the delivery that needs it most.

    Args:
        samples: The same pictures in several deliveries.
        rule: Joins the scores.

    Returns:
        ``threshold`` and ``unsure_high`` are the cut of ``ai_generated``, ``unsure_low`` is that of ``real``.
    """
    flag, clear = [], []
    for sample in samples:
        logits = joint_logits(rule, sample.looks.first, sample.second, Mode.ALWAYS)
        weights = sample.weights
        real = (sample.labels == 0) & sample.product
        # Neither the average photo nor the average shop may be flagged more often.
        for each in (weights[real], np.ones(real.sum())):
            flag.append(weighted_quantile(logits[real], each, 1.0 - FALSE_ALARMS))
        ai = sample.labels == 1
        # Those that nobody is asked about are lost already.
        clear.append(weighted_quantile(logits[ai], weights[ai], MISSED - UNASKED))
    high = float(sigmoid(np.array([max(flag)]))[0])
    low = min(float(sigmoid(np.array([min(clear)]))[0]), high)
    blockiness = samples[-1].looks.statistics[:, CONTRACT.statistics.index("blockiness")].astype(np.float64)
    return OperatingPoint(
        model_version=0,
        threshold=high,
        unsure_low=low,
        unsure_high=high,
        min_side=MIN_SIDE,
        max_blockiness=float(np.quantile(blockiness, 0.999)),
    )


def assemble(probe: Probe, rule: Rule, samples: Sequence[Sample], encoder: str) -> SecondOpinion:
    """Puts a version's second opinion together.

    Args:
        probe: Fitted on all pictures.
        rule: The rule.
        samples: The samples that the rule was fitted on.
        encoder: Identity of the encoder.
    """
    point = fit_point(samples, rule)
    clean = samples[0]
    logits = joint_logits(rule, clean.looks.first, clean.second, Mode.ALWAYS)
    served = joint_logits(rule, clean.looks.first, clean.second, Mode.AUTO, ceiling(point))
    product = (clean.labels == 0) & clean.product
    weights = clean.weights
    heights = [weighted_quantile(logits[product], weights[product], 1.0 - level) for level in LEVELS]
    return SecondOpinion(
        encoder=encoder,
        weights=tuple(float(f"{value:.6g}") for value in probe.weights),
        bias=float(probe.bias),
        hidden=probe.hidden,
        rule=rule,
        operating_point=point,
        real_levels=LEVELS,
        real_logits=tuple(float(value) for value in np.maximum.accumulate(heights)),
        metrics=figures(samples, rule, point),
        drift_reference=drift_reference(served, clean.looks.statistics, replace(point, model_version=0)),
    )


def figures(samples: Sequence[Sample], rule: Rule, point: OperatingPoint) -> Mapping[str, float]:
    """Measures the joint score on sources left out, by delivery.

    Args:
        samples: Samples, one for each delivery.
        rule: Joins the scores.
        point: Cuts of the joint score.
    """
    found: dict[str, float] = {}
    for sample in samples:
        labels, product, name = sample.labels, sample.product, sample.looks.delivery
        logits = joint_logits(rule, sample.looks.first, sample.second, Mode.ALWAYS)
        p = sigmoid(logits)
        ai, real = labels == 1, labels == 0
        numbers = {
            "auroc": auroc(labels, logits),
            "auroc_product": auroc(labels[product], logits[product]),
            "found": float((p[ai] >= point.threshold).mean()),
            "found_product": float((p[ai & product] >= point.threshold).mean()) if (ai & product).any() else 0.0,
            "false_alarms_product": float((p[real & product] >= point.threshold).mean()),
            "false_alarms": float((p[real] >= point.threshold).mean()),
            "ai_called_real": float((p[ai] < point.unsure_low).mean()),
            "unsure": float(((p >= point.unsure_low) & (p < point.unsure_high)).mean()),
            "ece": ece(labels, p),
        }
        if sample.unseen.any():
            asked = sample.looks.first >= rule.ask_above
            numbers |= {
                "asked_real": float(asked[real & sample.unseen].mean()),
                "asked_ai": float(asked[ai & sample.unseen].mean()),
            }
        found |= {f"{name}_{key}": round(value, 5) for key, value in numbers.items()}
    return found
