"""Whether one map can be trusted: a quick sanity test, and the word that comes of it.

`asking` asks the network and the metrics, and knows no word; `evidence` makes the word and its
reasons of the numbers, and knows no network. Importing this hands the check to
`Explanation.check`. How often it is wrong stands in docs/check.md.
"""

from __future__ import annotations

from gradcam_hooks.results.checked import Trusts, checker
from gradcam_hooks.results.diagnosis import Diagnosis
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.trust.asking import gathered
from gradcam_hooks.trust.evidence import Evidence, judged

__all__ = ["Evidence", "checked", "gathered", "judged"]


@checker
def checked(explanation: Explanation, *, seed: int = 0) -> Trusts:
    """A word on each map, a tuple over the batch (of tuples over the targets).

    Raises:
        InputError: the explanation cannot be made again.
    """
    rows, words = gathered(explanation, seed=seed), []
    for index, row in enumerate(rows):
        said = explanation.diagnosis[index]
        each = [said] if isinstance(said, Diagnosis) else said
        words.append(tuple(judged(one, word) for one, word in zip(row, each, strict=True)))
    if explanation.scores.ndim == 1:
        return tuple(word for (word,) in words)
    return tuple(words)
