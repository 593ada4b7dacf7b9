from __future__ import annotations

import numpy as np
import pytest

from gradcam_hooks.images.colors import blend, to_float, to_uint8
from gradcam_hooks.images.painting import paint
from gradcam_hooks.results.drawing import CLASSIC, Style


@pytest.mark.parametrize("style", [Style(), CLASSIC, Style(signed=True), Style(colormap="gray_r")])
def test_painting_is_blending_to_one_step_of_255(style):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    heat = random.random((70, 90), dtype=np.float32)
    seen = np.zeros((70, 90), bool)
    seen[:, 10:80] = True
    odd = random.random((70, 90)) < 0.5  # no rectangle
    for mask in (seen, np.ones_like(seen), odd, np.zeros_like(seen)):
        drawn = blend(
            to_float(image), heat, alpha=style.weight(heat), colormap=style.colours, seen=mask
        )
        painted = paint(image, heat, style.weight, style.colours, mask)
        assert np.abs(painted.astype(int) - to_uint8(drawn)).max() <= 1
        assert (painted[~mask] == to_uint8(drawn)[~mask]).all()
