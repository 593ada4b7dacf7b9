"""An audit's look at every picture on a cluster: what each worker saw, to be put together.

The look is what an audit takes its time for. Each worker makes the network anew from the user's
words and looks at batches of pictures; grouping and trials, which are of all pictures at once, are
this machine's. Knows audits; workers are `pool`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from gradcam_hooks.apps.audited.run import print_of
from gradcam_hooks.apps.cluster.pool import Do, Pool
from gradcam_hooks.apps.cluster.remote import check_print
from gradcam_hooks.auditing.keeping import Part, joined
from gradcam_hooks.auditing.run import Ask, look_of
from gradcam_hooks.models import LoadedModel

__all__ = ["RemoteLook", "seeing"]


@dataclass(frozen=True)
class RemoteLook:
    """Where an audit looks at pictures, as `audit_files` takes it: the workers of a cluster.

    Attributes:
        make: makes the network, for a device; it is sent to the workers.
        pool: the workers.
    """

    make: Callable[[str], LoadedModel]
    pool: Pool

    def __call__(self, ask: Ask, fingerprint: str, numbers: Sequence[int]) -> Iterator[Part]:
        """What was seen of these pictures, in the order in which workers are done with them.

        Raises:
            ImportError, InputError: Ray is not there, the cluster cannot be joined, or too little
                of it is free.
            GradCamHooksError: as `see`.
        """
        make = partial(seeing, self.make, ask, fingerprint)
        with closing(self.pool.map(make, numbers, ask.look.batch_size)) as found:
            for chunk in found:
                yield from (part for _, part in chunk if part is not None)


def seeing(make: Callable[[str], LoadedModel], ask: Ask, fingerprint: str, device: str) -> Do:
    """On a worker: what looks at pictures by their numbers, as the command would.

    Args:
        make: makes the network.
        ask: the audit.
        fingerprint: what the network's must be.
        device: what for.

    Raises:
        ModelError: it is another network.
        GradCamHooksError, ImportError, OSError: it cannot be made here.
    """
    loaded = make(device)
    check_print(print_of(loaded, ask), fingerprint)
    look = look_of(loaded, ask)

    def do(numbers: Sequence[int]) -> list[Part | None]:
        whole = joined(list(look(numbers)))
        return [whole, *[None] * (len(numbers) - 1)]  # a row for each picture

    return do
