"""words: numbers and lists as people read them."""

import pytest

from keras_unet3d.words import some


@pytest.mark.parametrize(
    "count, shown",
    [(0, ""), (1, "0"), (5, "0, 1, 2, 3, 4"), (6, "0, 1, 2, ... and 3 more"), (19583, "0, 1, 2, ... and 19,580 more")],
)
def test_never_more_than_a_handful(count, shown):
    assert some(range(count)) == shown
