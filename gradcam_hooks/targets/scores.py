"""Scores of one vector per image: a difference, one logit, a regression, a similarity.

Each target is a frozen callable from the model's output to one score per image. Knows tensors
only: no layer, no map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gradcam_hooks.checks import check_one_of
from gradcam_hooks.errors import OutputError, TargetError
from gradcam_hooks.network.outputs import described, find_logits, flat_logits
from gradcam_hooks.network.tree import children, tensors
from gradcam_hooks.targets.checks import labelled, legal, number, numbered, whole

__all__ = ["Binary", "Difference", "How", "Regression", "Similarity"]

How = Literal["cosine", "dot", "distance"]


@dataclass(frozen=True)
class Difference:
    """Why this class rather than that one: the logit of ``this`` less the logit of ``that``.

    Args:
        this: the class's number, or its label where the explainer knows the labels.
        that: the other's.

    Raises:
        TargetError: a number or a label is no class, or both are the same.
        OutputError: the output is not ``(batch, classes)``.

    >>> Difference(2, 0)(torch.tensor([[0.5, 1.0, 4.0]]))
    tensor([3.5000])
    """

    this: int | str
    that: int | str

    def __post_init__(self) -> None:
        object.__setattr__(self, "this", numbered(self.this, "a class"))
        object.__setattr__(self, "that", numbered(self.that, "a class"))
        if self.this == self.that:
            raise TargetError(f"{self} compares a class with itself; name two classes.")

    def labelled(self, labels: Sequence[str] | None) -> Difference:
        """The same with numbers in the place of labels."""
        this, that = (
            labelled(one, labels) if isinstance(one, str) else one for one in (self.this, self.that)
        )
        return replace(self, this=this, that=that)

    def __call__(self, output: object) -> Tensor:
        """``(batch, classes)`` to ``(batch,)``."""
        logits = find_logits(output)
        if logits.ndim != 2:
            raise OutputError(
                f"{self} needs logits of shape (batch, classes), but the output is "
                f"{described(logits)}. Pass output= to choose another part."
            )
        this, that = number(self.this), number(self.that)
        legal(this, logits.shape[1])
        legal(that, logits.shape[1])
        return logits[:, this] - logits[:, that]


@dataclass(frozen=True)
class Binary:
    """One logit that stands for two classes: itself, or its negative for the other side.

    Args:
        positive: whether to explain what speaks for the class (a high logit) or against it; or a
            sequence of one such for each image.

    Raises:
        OutputError: the output is neither ``(batch, 1)`` nor ``(batch,)``.
        TargetError: as many sides came as there are not images.

    >>> Binary(positive=False)(torch.tensor([[0.5], [-2.0]]))
    tensor([-0.5000,  2.0000])
    """

    positive: bool | Sequence[bool] = True

    def __post_init__(self) -> None:
        given = self.positive
        each = tuple(given) if isinstance(given, Sequence) else (given,)
        if not each or not all(isinstance(one, bool) for one in each):
            raise TargetError(f"Binary(positive=) is True or False, not {given!r}.")
        object.__setattr__(self, "positive", each if isinstance(given, Sequence) else given)

    def __call__(self, output: object) -> Tensor:
        """``(batch, 1)`` or ``(batch,)``, with more axes of one or not, to ``(batch,)``."""
        values = flat_logits(_values(output))
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1:
            raise OutputError(
                f"{self} needs one logit per image, (batch, 1) or (batch,), but the output is "
                f"{described(values)}. Of several classes pass the number: target=1."
            )
        if isinstance(self.positive, bool):
            return values if self.positive else -values
        if len(self.positive) not in (1, len(values)):
            raise TargetError(
                f"{len(self.positive)} sides came for a batch of {len(values)}; one, or one each."
            )
        return torch.where(torch.tensor(self.positive, device=values.device), values, -values)


@dataclass(frozen=True)
class Regression:
    """A predicted quantity: what makes it large, or what makes it small.

    Args:
        index: which of several outputs; None where there is one.
        up: True for what raises the prediction, False for what lowers it.

    Raises:
        TargetError: of several outputs none was named, or one that is not there.
        OutputError: the output is not ``(batch,)`` or ``(batch, outputs)``.

    >>> Regression(1, up=False)(torch.tensor([[10.0, 0.25]]))
    tensor([-0.2500])
    """

    index: int | None = None
    up: bool = True

    def __post_init__(self) -> None:
        if self.index is not None:
            object.__setattr__(self, "index", whole(self.index, "Regression's index"))
        if not isinstance(self.up, bool):
            raise TargetError(f"Regression(up=) is True or False, not {self.up!r}.")

    def __call__(self, output: object) -> Tensor:
        """``(batch,)``, ``(batch, 1)`` or ``(batch, outputs)`` to ``(batch,)``."""
        values = _values(output)
        if values.ndim == 1:
            values = values[:, None]
        if values.ndim != 2 or not values.shape[1]:
            raise OutputError(
                f"{self} needs an output of shape (batch,) or (batch, outputs), but it is "
                f"{described(values)}. Pass output= to choose another part."
            )
        count = values.shape[1]
        if self.index is None and count > 1:
            raise TargetError(
                f"this output has {count} numbers per image: say which, Regression(0) to "
                f"Regression({count - 1})."
            )
        index = self.index or 0
        legal(index, count, "output")
        return values[:, index] if self.up else -values[:, index]


@dataclass(frozen=True, eq=False)
class Similarity:
    """How like a reference the image's embedding is.

    cosine: ``e . r / (|e| |r|)``; dot: ``e . r``; distance: ``-|e - r|``, Euclidean. Of a
    CLIP-like output it takes ``image_embeds``, so with a text's embedding as the reference the map
    shows the image against the text.

    Args:
        reference: ``(d,)`` for all images, or ``(batch, d)``, one for each.
        how: ``"cosine"``, ``"dot"`` or ``"distance"``.
        text: in the reference's place a text, or a list of one for each image, of a model that
            reads texts beside images and returns ``text_embeds``, as CLIP and SigLIP do.
        processor: of transformers, with the tokenizer that reads the text, or that tokenizer; a
            processor makes the pictures ready too.

    Raises:
        TargetError: the reference does not fit the embedding, or the text cannot be read.
        OutputError: no embedding ``(batch, d)`` is found in the output.

    >>> Similarity(torch.tensor([3.0, 4.0]), "dot")(torch.tensor([[1.0, 2.0]]))
    tensor([11.])
    """

    reference: Tensor | None = None
    how: How = "cosine"
    text: str | Sequence[str] | None = None
    processor: object | None = None

    def __post_init__(self) -> None:
        check_one_of(self.how, "Similarity(how=)", get_args(How), error=TargetError)
        if (self.reference is None) == (self.text is None):
            raise TargetError(
                "Similarity compares with a reference embedding, or with text='a dog' and its "
                "processor=; give one of them."
            )
        if self.text is not None:
            texts = [self.text] if isinstance(self.text, str) else list(self.text)
            if not texts or not all(isinstance(one, str) and one for one in texts):
                raise TargetError(f"Similarity(text=) is a text, or a list of such; {texts} came.")
            if not callable(getattr(self.processor, "tokenizer", self.processor)):
                raise TargetError(
                    f"the text {self.text!r} is read by the model's tokenizer: pass "
                    "Similarity(text=..., processor=processor)."
                )
            return
        reference = self.reference
        if not isinstance(reference, Tensor) or not reference.is_floating_point():
            what = reference.dtype if isinstance(reference, Tensor) else type(reference).__name__
            raise TargetError(f"a reference is a floating-point tensor (d,), not {what}.")
        if reference.ndim not in (1, 2) or not reference.numel():
            raise TargetError(
                f"a reference is one embedding (d,) or one for each image (batch, d), not "
                f"{tuple(reference.shape)}."
            )
        object.__setattr__(self, "reference", reference.detach())
        if not bool(reference.isfinite().all()):
            raise TargetError("the reference embedding has a NaN or an infinity in it.")
        if self.how == "cosine" and not bool(reference.ne(0).any(-1).all()):
            raise TargetError(
                "the reference embedding is all zeros, which has no direction to be alike in. "
                "Pass another, or how='distance'."
            )

    def __repr__(self) -> str:
        if self.reference is None:
            return f"Similarity(text={self.text!r}, how={self.how!r})"
        return f"Similarity({tuple(self.reference.shape)}, how={self.how!r})"

    def words(self) -> Mapping[str, Tensor]:
        """The text as its model takes it, by the names of its arguments.

        Raises:
            TargetError: the tokenizer fails on it.
        """
        reader: Any = getattr(self.processor, "tokenizer", self.processor)
        several = [self.text] if isinstance(self.text, str) else list(self.text or ())
        # SigLIP was trained on texts of one length, and says so by its tokenizer alone.
        whole = "siglip" in type(reader).__name__.lower() + type(self.processor).__name__.lower()
        padding = "max_length" if whole else True
        try:
            found = reader(several, padding=padding, truncation=True, return_tensors="pt")
        except Exception as error:  # a tokenizer may raise anything
            raise TargetError(
                f"the tokenizer fails on {self.text!r}: {type(error).__name__}: {error}"
            ) from error
        return {name: one for name, one in found.items() if isinstance(one, Tensor)}

    def settled(self, output: object) -> Similarity:
        """The same against the embedding of the text in ``output``."""
        if self.reference is not None:
            return self
        return Similarity(_text_of(output), self.how)

    def __call__(self, output: object) -> Tensor:
        """``(batch, d)`` to ``(batch,)``."""
        embedding = _embedding(output)
        given = _text_of(output) if self.reference is None else self.reference
        reference = given.to(embedding)
        if reference.shape not in (embedding.shape, embedding.shape[1:]):
            batch, d = embedding.shape
            raise TargetError(
                f"the images' embeddings are (batch={batch}, d={d}), and the reference is "
                f"{tuple(reference.shape)}: it must be ({d},), or ({batch}, {d}) with one for "
                "each image, from the same model."
            )
        if self.how == "cosine":
            scores = torch.cosine_similarity(embedding, reference.expand_as(embedding), dim=1)
        elif self.how == "dot":
            scores = (embedding * reference).sum(1)
        else:
            scores = -torch.linalg.vector_norm(embedding - reference, dim=1)
        return scores


def _text_of(output: object) -> Tensor:
    """The embedding of the text, ``(d,)``, or of several ``(texts, d)``."""
    found = dict(children(output)).get("text_embeds")
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise OutputError(
            "Similarity(text=) needs a model that returns text_embeds (texts, d) beside the "
            f"images', as CLIP's does; this output is\n{described(output)}\nWith another, embed "
            "the text first and pass Similarity(embedding)."
        )
    return found[0].detach() if len(found) == 1 else found.detach()


def _values(output: object) -> Tensor:
    """The logits by rule, or the only floating-point tensor there is, ``(batch,)`` included."""
    floating = [tensor for tensor in tensors(output) if tensor.is_floating_point()]
    return floating[0] if len(floating) == 1 else find_logits(output)


def _embedding(output: object) -> Tensor:
    named = dict(children(output)).get("image_embeds")
    if isinstance(named, Tensor):
        found = [named]
    else:
        found = [t for t in tensors(output) if t.ndim == 2 and t.is_floating_point()]
    if len(found) != 1 or found[0].ndim != 2:
        raise OutputError(
            "looking for the images' embeddings, one tensor (batch, d) or one called "
            f"image_embeds, in the model's output. It is\n{described(output)}\n"
            "Pass output= a key, an index or a function that takes the output and returns them."
        )
    return found[0]
