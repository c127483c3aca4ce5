from __future__ import annotations

import pytest

from veriphoto.errors import UsageError
from veriphoto_training.recipes import RECIPES, Recipe, get_recipe
from veriphoto_training.run.start import override


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_carries_its_name(name: str) -> None:
    assert get_recipe(name).name == name


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="cifake, product, smoke"):
        get_recipe("fast")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("crop_size", 100, "multiple"),
        ("crop_size", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("learning_rate", 0.0, "between 0 and 1"),
        ("splice_share", 1.5, "0..1"),
        ("colour_share", -0.1, "0..1"),
        ("two_views", False, "consistency"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(name="mine", **{field: value})  # type: ignore[arg-type]


def test_overrides_change_fields_and_nothing_else() -> None:
    changed = override(get_recipe("product"), ["epochs=3", "two_views=false", "consistency=0"])
    assert (changed.epochs, changed.two_views, changed.crop_size) == (3, False, get_recipe("product").crop_size)


@pytest.mark.parametrize(
    "change", ["epoch=3", "epochs", "epochs=many", "epochs=0", "epochs=2.5", "align=1", "dropout=true", "name=1"]
)
def test_overrides_that_do_not_fit_are_refused(change: str) -> None:
    with pytest.raises(UsageError):
        override(get_recipe("product"), [change])
