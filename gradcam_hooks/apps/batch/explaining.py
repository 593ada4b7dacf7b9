"""Explaining: what a job's network makes of pictures that were read, an outcome for each.

The loop has it done in its own process, and workers of a cluster in theirs. This file knows
networks and pictures in memory: no folder, no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor

from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.outcomes import Broken, Explained, Outcome, failed
from gradcam_hooks.apps.batch.reading import Ready
from gradcam_hooks.errors import GradCamHooksError
from gradcam_hooks.images.volumes import ScanPicture
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.stream.batches import Batches, fatal_for

__all__ = ["Explain", "explaining"]

Explain: TypeAlias = Callable[[Sequence[Ready | Exception]], list[Outcome]]
"""What comes of pictures, of each that was read or was not."""

_Answer: TypeAlias = Explanation | Comparison | Exception


@contextmanager
def explaining(job: Job, batch_size: int) -> Iterator[Explain]:
    """A job's network, open while the block lasts.

    Args:
        job: what to do.
        batch_size: how many pictures go through the network at once; halved where memory gives
            out, and one where each picture has as many targets as it has.

    Raises, and so does what it gives:
        GradCamHooksError: the layer, the target or the method does not suit the network.
    """
    if job.compares:
        yield lambda read: _outcomes(job, read, [_compared(job, one) for one in _good(read)])
        return
    with job.explainer() as opened:
        ready: list[Ready] = []
        like = next(job.loaded.model.parameters(), torch.empty(0))

        def explain(inputs: Tensor, rows: Sequence[int]) -> Explanation:
            explanation = opened(inputs.to(like), target=job.target)
            if job.check:
                explanation = explanation.check().explanation
            return explanation.on(tuple(ready[row].picture for row in rows))

        size = 1 if job.target == "on" else batch_size
        batches = Batches(explain, size, fatal_for(job.target))

        def outcomes(read: Sequence[Ready | Exception]) -> list[Outcome]:
            ready[:] = _good(read)
            answers = batches([one.pixels for one in ready]) if ready else []
            return _outcomes(job, read, answers)

        yield outcomes


def _good(read: Sequence[Ready | Exception]) -> list[Ready]:
    return [one for one in read if isinstance(one, Ready)]


def _outcomes(
    job: Job, read: Sequence[Ready | Exception], answers: Sequence[_Answer]
) -> list[Outcome]:
    rest = iter(answers)
    found: list[Outcome] = []
    for one in read:
        if isinstance(one, Exception):
            found.append(Broken(str(one)))
            continue
        answer = next(rest)
        if isinstance(answer, Exception):
            found.append(failed(answer, one.pixels.shape))
        else:
            found.append(Explained(one, answer, job.style))
    return found


def _compared(job: Job, ready: Ready) -> Comparison | Exception:
    picture = ready.picture
    try:
        return job.compare(picture.scan if isinstance(picture, ScanPicture) else picture.image)
    except GradCamHooksError:
        raise  # no method at all can explain this network
    except Exception as error:  # the network is the user's code
        return error.with_traceback(None)
