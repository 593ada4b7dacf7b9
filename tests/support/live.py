"""What is alive: tensors and taps, counted before and after a piece of work."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

from torch import Tensor

from gradcam_hooks.network.tap import Tap


def frozen() -> Iterator[None]:
    """What is there already is passed over, so that what comes can be counted quickly."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def living() -> dict[str, int]:
    """Tensors and taps, also those that a graph of C++ alone keeps, where `gc` sees no circle."""
    gc.collect()
    kinds = [type(one) for one in gc.get_objects()]
    return {
        "tensors": sum(issubclass(kind, Tensor) for kind in kinds),
        "taps": sum(issubclass(kind, Tap) for kind in kinds),
    }


def flat(work: Callable[[], object]) -> None:
    """Done again, it leaves nothing alive."""
    work()
    work()  # what is found out once, is
    before = living()
    for _ in range(3):
        work()
    assert living() == before
