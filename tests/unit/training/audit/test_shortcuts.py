"""The tree finds leaks that exist, and none that do not."""

from __future__ import annotations

import numpy as np
import pytest
from brightness_model import draw
from PIL import Image

from veriphoto.errors import DataError
from veriphoto_training.audit.aligned import aligned_metadata
from veriphoto_training.audit.shortcuts import separate
from veriphoto_training.augment import alignment
from veriphoto_training.data.facts import METADATA, metadata
from veriphoto_training.recipes import get_recipe
from veriphoto_training.scoring.metrics import auroc


def _noise(count: int) -> np.ndarray:
    features = np.zeros((count, len(METADATA)), dtype=np.float32)
    features[:, :5] = np.random.default_rng(0).normal(size=(count, 5))
    return features


def test_a_leak_in_one_column_is_found_and_named() -> None:
    labels = np.arange(200) % 2
    features = _noise(200)
    features[:, METADATA.index("bytes per pixel")] += 6.0 * labels
    found = separate(features, labels, [str(i) for i in range(200)], seed=0)
    assert auroc(labels, found.scores) > 0.99
    assert next(iter(found.single)) == "bytes per pixel"


def test_noise_separates_nothing() -> None:
    labels = np.arange(400) % 2
    assert 0.4 < auroc(labels, separate(_noise(400), labels, [str(i) for i in range(400)], seed=0).scores) < 0.6


def test_files_that_are_all_alike_separate_nothing() -> None:
    labels = np.arange(20) % 2
    found = separate(np.zeros((20, len(METADATA)), np.float32), labels, [str(i) for i in range(20)], seed=0)
    assert auroc(labels, found.scores) == 0.5


def test_a_format_without_tables_is_a_leak() -> None:
    labels = np.arange(80) % 2
    features = np.ones((80, len(METADATA)), dtype=np.float32)
    features[labels == 1, 5:] = np.nan
    assert auroc(labels, separate(features, labels, [str(i) for i in range(80)], seed=0).scores) == 1.0


def test_a_group_is_never_learned_from_its_own_members() -> None:
    labels = np.repeat(np.arange(60) % 2, 5)
    features = np.repeat(_noise(60), 5, axis=0)
    groups = np.repeat([str(i) for i in range(60)], 5)
    grouped = auroc(labels, separate(features, labels, list(groups), seed=0).scores)
    alone = auroc(labels, separate(features, labels, [str(i) for i in range(300)], seed=0).scores)
    assert grouped < 0.65
    assert alone > 0.95


def test_too_few_independent_pictures_are_refused() -> None:
    labels = np.array([0] * 20 + [1] * 20)
    with pytest.raises(DataError, match="1 independent AI"):
        separate(_noise(40), labels, [str(i) for i in range(20)] + ["one"] * 20, seed=0)


def test_the_chain_takes_a_leak_away() -> None:
    recipe = get_recipe("product")
    files = [draw(i, size=(260, 240), quality=95 if i % 2 else 60, subsampling=0 if i % 2 else 2) for i in range(80)]
    labels = np.arange(80) % 2
    groups = [str(i) for i in range(80)]
    measure = aligned_metadata(recipe)
    seen = np.stack([measure(data, np.random.default_rng(i)) for i, data in enumerate(files)])
    raw = np.stack([metadata(data) for data in files])
    assert auroc(labels, separate(raw, labels, groups, seed=0).scores) == 1.0
    # Not 0.5: what quality 60 took from these pictures stays taken, and shows in how well they compress.
    assert auroc(labels, separate(seen, labels, groups, seed=0).scores) < 0.8
    sizes = seen[:, 0][~np.isnan(seen[:, 0])]
    assert len(sizes) > 60
    assert len(set(sizes)) > 20
    assert recipe.crop_size * 0.7 < sizes.min() < sizes.max() < recipe.crop_size * 2.1


def test_what_is_measured_is_what_the_network_sees() -> None:
    recipe = get_recipe("product")
    chain = alignment.Chain.of(recipe)
    data = draw(3, size=(300, 260), kind="PNG")
    for seed in range(8):
        file = chain.last_file(data, np.random.default_rng(seed))
        view = chain(data, np.random.default_rng(seed))[0]
        assert file is None or _crops_to(alignment.opened(file), view)
        assert np.isnan(aligned_metadata(recipe)(data, np.random.default_rng(seed))).all() == (file is None)


def _crops_to(encoded: Image.Image, view: np.ndarray) -> bool:
    """Whether some crop of the encoded square, off the border by at most its margin, is the view."""
    side = encoded.width - 16
    places = ((left, top) for left in range(17) for top in range(17))
    crops = (encoded.crop((left, top, left + side, top + side)) for left, top in places)
    return any(np.array_equal(crop.resize(view.shape[:2], Image.Resampling.BICUBIC), view) for crop in crops)


def test_a_recipe_without_a_chain_is_refused() -> None:
    with pytest.raises(DataError, match="cifake"):
        aligned_metadata(get_recipe("cifake"))
