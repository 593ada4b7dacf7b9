"""A word that a language model says: which pixels made a vision-language model say it.

A frozen callable from the logits of every position of a text, ``(batch, length, vocabulary)``, to
one score per image. Knows tensors, and a tokenizer by its call alone: no layer, no map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradcam_hooks.errors import OutputError, TargetError
from gradcam_hooks.network.outputs import described, find_logits
from gradcam_hooks.targets.checks import labelled, legal, whole

__all__ = ["Token"]

Word = int | str | Sequence[int] | Tensor | None
"""A token's number, a word or a sentence, the numbers of several tokens, or None."""


@dataclass(frozen=True)
class Token:
    """A word of an answer: the logit of its token at the position that predicts it.

    A language model's logits at a position are of the token behind it, so those at the last, -1,
    are of the word that it says next. Of several tokens it is the sum of their logits, each at the
    position ahead of it: ``sum_k y[p + k, t_k]``; they are the end of what goes into the model, as
    an answer that was generated is asked why it was given.

    Args:
        word: a token's number; a word or a sentence, for which a tokenizer is needed; a sequence of
            numbers, such as an answer's ``input_ids``; None for the token that is predicted.
        position: which position's logits, from 0 or, negative, from the end; of several tokens the
            first one's. By default the last, and of several tokens that ahead of the first.
        tokenizer: of transformers, or a processor that has one, or a function from a text to
            numbers. Of a word that is one token both at the start of a text and behind a space the
            likelier is taken.

    Raises:
        TargetError: the word cannot be read, or it or the position is not in the output.
        OutputError: there are no logits ``(batch, length, vocabulary)``.

    >>> logits = torch.tensor([[[0.0, 1, 2], [5, 3, 4], [7, 6, 8]]])  # 3 positions, 3 tokens
    >>> Token()(logits), Token(0)(logits), Token([2, 1])(logits)  # 8, 7, and 2 + 3
    (tensor([8.]), tensor([7.]), tensor([5.]))
    """

    word: Word = None
    position: int | None = None
    tokenizer: object | None = None

    def __post_init__(self) -> None:
        if self.position is not None and (
            isinstance(self.position, bool) or not isinstance(self.position, int)
        ):
            raise TargetError(f"Token(position=) is a whole number, not {self.position!r}.")
        word: object = self.word
        if isinstance(word, Tensor):
            word = word.flatten().tolist() if word.ndim else word.item()
        if isinstance(word, str) or word is None:
            kept: object = word
        elif isinstance(word, Sequence):
            kept = tuple(whole(one, "each token of Token(word=)") for one in word)
        else:
            kept = whole(word, "Token(word=)")
        if kept in ("", ()):
            raise TargetError("Token(word=) is empty; leave it out for the token predicted.")
        object.__setattr__(self, "word", kept)

    def __repr__(self) -> str:
        said = [] if self.word is None else [repr(self.word)]
        said += [] if self.position is None else [f"position={self.position}"]
        return f"Token({', '.join(said)})"

    def labelled(self, labels: Sequence[str] | None) -> Token:
        """The same with a number in the place of a word that is one of the labels."""
        if isinstance(self.word, str) and self.tokenizer is None and labels is not None:
            return replace(self, word=labelled(self.word, labels))
        return self

    def settled(self, output: object) -> Token:
        """The same tokens as in ``output``; of a batch of several pictures what each says."""
        if isinstance(self.word, int | tuple):
            return self
        logits = _logits(output)
        found = self._tokens(logits)
        if self.word is None and len(logits) > 1:
            return _Each(tuple(found.flatten().tolist()), self.position, self.tokenizer)
        row = found[0].tolist()
        return replace(self, word=row[0] if len(row) == 1 else tuple(row))

    def __call__(self, output: object) -> Tensor:
        """``(batch, length, vocabulary)`` to ``(batch,)``."""
        logits = _logits(output)
        tokens = self._tokens(logits)  # (batch, count)
        count = tokens.shape[1]
        first = self._first(logits.shape[1], count)
        legal(int(tokens.max()), logits.shape[2], "token")
        rows = logits[:, first : first + count]
        return rows.gather(2, tokens[..., None])[..., 0].sum(1)

    def _first(self, length: int, count: int) -> int:
        position = self.position
        if position is None:
            position = -1 if count == 1 else -count - 1
        first = position + length if position < 0 else position
        if not 0 <= first <= length - count:
            raise TargetError(
                f"{self} asks for {count} token{'s' * (count > 1)} from position {position} on, "
                f"and the output has {length} positions."
            )
        return first

    def _tokens(self, logits: Tensor) -> Tensor:
        """The numbers of the tokens, LongTensor ``(batch, count)``."""
        word = self.word
        if isinstance(word, str):
            word = self._read(word, logits.detach())
        if word is None:
            best = logits.detach()[:, self._first(logits.shape[1], 1)].argmax(1)
            return best[:, None]
        several = [word] if isinstance(word, int) else list(word)
        tokens = torch.tensor(several, device=logits.device)
        return tokens.expand(len(logits), -1)

    def _read(self, word: str, logits: Tensor) -> tuple[int, ...]:
        """The tokens of a word or a sentence."""
        readings = [_numbers(self.tokenizer, text, word) for text in (word, f" {word.lstrip()}")]
        single = [one for one in readings if len(one) == 1]
        if not single:
            return readings[0]
        values = logits[0, self._first(logits.shape[1], 1)]
        legal(max(one[0] for one in single), logits.shape[2], "token")
        return max(single, key=lambda one: float(values[one[0]]))


class _Each(Token):
    """A token for each image."""

    def _tokens(self, logits: Tensor) -> Tensor:
        assert isinstance(self.word, tuple)
        return torch.tensor(self.word, device=logits.device)[:, None]


def _numbers(tokenizer: object, text: str, word: str) -> tuple[int, ...]:
    reader: Any = getattr(tokenizer, "tokenizer", tokenizer)  # a processor has one
    if not callable(reader):
        raise TargetError(
            f"the word {word!r} is read by the model's tokenizer: pass Token({word!r}, "
            "tokenizer=processor), or the number of its token."
        )
    library = type(reader).__module__.partition(".")[0] == "transformers"
    given = reader(text, add_special_tokens=False) if library else reader(text)
    numbers = given["input_ids"] if isinstance(given, Mapping) else given
    if isinstance(numbers, Tensor):
        numbers = numbers.flatten().tolist()
    found = tuple(whole(one, "each token of a word") for one in numbers)
    if not found:
        raise TargetError(f"the tokenizer makes no token of {text!r}.")
    return found


def _logits(output: object) -> Tensor:
    logits = find_logits(output)
    if logits.ndim != 3 or not logits.numel():
        raise OutputError(
            "a word is asked for, which needs logits (batch, length, vocabulary), but the output "
            f"is {described(logits)}. Pass output= to choose another part."
        )
    return logits
