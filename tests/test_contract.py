"""Keras' ways to train: each works as without us, or is refused in words."""

import re
from pathlib import Path

import contract
import keras
import pytest

PAGE = Path(__file__).parent.parent / "docs" / "guides" / "keras_modes.md"
CELLS = [
    pytest.param(row, kind, id=f"{row.run.__name__}-{kind.strip('`')}")
    for row in contract.ROWS
    if row.run is not None
    for kind in contract.KINDS
]


@pytest.mark.every_backend
@pytest.mark.filterwarnings(
    # JAX has float64 only where its user switches it on.
    "ignore:Explicitly requested dtype.*float64",
    # Keras says so at the end of a data set of unknown size.
    "ignore:Your input ran out of data",
    # PyTorch's compiler instantiates what it warns of instantiating.
    "ignore:.*should not be instantiated:DeprecationWarning",
)
@pytest.mark.parametrize(("row", "kind"), CELLS)
def test_it_trains_as_keras_does_or_says_why_not(row, kind, tmp_path):
    make = contract.Maker(kind)
    refused = row.refused.get((kind, keras.backend.backend()))
    if refused is None:
        row.run(make, tmp_path)
        return
    with pytest.raises(refused.error, match=re.escape(refused.says)):
        row.run(make, tmp_path)
    if refused.at_once:
        for model, before in make.made:
            contract.check_same(contract.weights(model), before, 0)
            assert contract.step_of(model) == 0


def test_the_page_has_the_table_of_these_rows():
    assert contract.table() in PAGE.read_text()
