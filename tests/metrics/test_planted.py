"""The metrics' own test: on a planted truth each prefers the right map, and noise moves none.

What fails says so in its card, and is held to it: a card that says too much fails as well.
"""

from __future__ import annotations

import pytest

from gradcam_hooks.metrics import METRICS
from tests.support.planted import looks, moved, noisy, planted

TRUTH = planted()
LOOKS = looks(TRUTH)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_metric_is_looked_at() -> None:
    assert set(LOOKS) == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_it_prefers_the_right_map(name: str) -> None:
    right, wrong = (LOOKS[name](m).mean for m in (TRUTH.right, moved(TRUTH.right)))
    better = right - wrong if METRICS[name].higher_is_better else wrong - right
    # Blind ones differ by chance where they compare with random maps; infidelity is in squares.
    assert (better > (0.01 if name == "infidelity" else 0.15)) == (not METRICS[name].blind), (
        right,
        wrong,
    )


@pytest.mark.parametrize("name", METRICS)
def test_it_stays_put_under_noise_that_changes_nothing(name: str) -> None:
    before, after = (LOOKS[name](m).values for m in (TRUTH.right, noisy(TRUTH.right)))
    moves = float((after - before).abs().max())
    assert (moves <= 0.01) == (not METRICS[name].restless), (before, after)
