"""What belongs to each image is asked of the network: a batch gives what its images give alone.

The law of every case: the map of image i of a batch is its map when it is passed alone with what is
its own, whatever else is as long as the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.network.hooks import Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.tree import mapped
from gradcam_hooks.runs import belonging as module
from gradcam_hooks.runs.run import Asked, Run, look
from tests.support.opened import tapped

METHODS = {
    "scorecam": {},
    "ablationcam": {},
    "rise": {"masks": 16},
    "reciprocam": {},
    "groupcam": {"groups": 2},
}
IMAGES = 3


class Net(nn.Module):
    """Pooled features ``(batch, 4)`` of a layer called conv, in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, IMAGES)
        self.double().eval()

    def seen(self, x: Tensor) -> Tensor:
        return self.conv(x).relu().mean((2, 3))


class Prototypes(Net):
    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        return -torch.cdist(self.seen(x), beside)


class Facts(Net):
    """A vector of facts on each image."""

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.seen(x) * beside)
        return logits


class Masked(Net):
    """A boolean mask of each image."""

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.seen(x * beside[:, None]))
        return logits


class Table(Net):
    """A table of positions, as many rows as the network has features or the batch images."""

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        features = self.conv(x).relu()
        places = torch.einsum("r,bchw->bc", beside.sum(1), features)
        logits: Tensor = self.fc(places)
        return logits


class Support(Net):
    """Examples whose mean is taken off, whatever their number."""

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.seen(x) - beside.mean((0, 2, 3)))
        return logits


class States(Net):
    """States whose second axis is the images', as recurrent layers take them."""

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.seen(x) * beside.mean(0))
        return logits


class Words(Net):
    """A word on each image, in a list of strings."""

    def forward(self, x: Tensor, beside: list[str]) -> Tensor:
        told = torch.tensor([float(len(word)) for word in beside], dtype=x.dtype)
        logits: Tensor = self.fc(self.seen(x) * told[:, None])
        return logits


class Tokens(Net):
    """Whole numbers for each image, padded as a mask beside them tells."""

    def forward(self, x: Tensor, beside: dict[str, Tensor]) -> Tensor:
        told = (beside["ids"] * beside["mask"]).sum(1, keepdim=True) / 7
        logits: Tensor = self.fc(self.seen(x) * told)
        return logits


class Texts(Net):
    """Whole numbers that are texts, each a class, padded as a mask beside them tells."""

    def forward(self, x: Tensor, beside: dict[str, Tensor]) -> Tensor:
        words = (beside["ids"] * beside["mask"]).double() @ torch.eye(4, 4, dtype=torch.float64)
        return self.seen(x) @ words.T


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


X = drawn(IMAGES, 3, 6, 6)
IDS = torch.tensor([[1, 5, 2, 3], [1, 4, 3, 0], [6, 0, 3, 1]])
PADDING = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])


@dataclass(frozen=True)
class Case:
    """A network, what goes in beside the images, and what of it belongs to one of them."""

    model: type[Net]
    beside: object
    own: Callable[[object, int], object] = lambda beside, index: beside


def rows(beside: Tensor, index: int) -> Tensor:
    return beside[index : index + 1]


CASES = {
    "prototypes": Case(Prototypes, drawn(IMAGES, 4)),
    "two prototypes alike": Case(Prototypes, drawn(2, 4)[[0, 1, 1]]),
    "facts": Case(Facts, drawn(IMAGES, 1), rows),
    "facts alike": Case(Facts, torch.ones(IMAGES, 1, dtype=torch.float64), rows),
    "masks": Case(Masked, drawn(IMAGES, 6, 6) > 0.5, rows),
    "table": Case(Table, drawn(IMAGES, 5)),
    "table of ones": Case(Table, torch.ones(IMAGES, 5, dtype=torch.float64)),
    "support set": Case(Support, drawn(IMAGES, 4, 5, 5)),
    "states": Case(States, drawn(2, IMAGES, 4), lambda beside, i: beside[:, i : i + 1]),  # type: ignore[index]
    "words": Case(Words, ["a", "bcd", "ef"], lambda beside, i: [beside[i]]),  # type: ignore[index]
    "tokens": Case(
        Tokens,
        {"ids": IDS, "mask": PADDING},
        lambda beside, i: {key: rows(one, i) for key, one in beside.items()},  # type: ignore[attr-defined]
    ),
    "texts": Case(Texts, {"ids": IDS, "mask": PADDING}),
    "texts unpadded": Case(Texts, {"ids": IDS, "mask": torch.ones_like(IDS)}),
}


def raw(
    method: str, model: nn.Module, *inputs: object, target: object = 1, **kwargs: object
) -> Tensor:
    explainer = gh.explainer(
        method, model, "conv", generator=torch.Generator().manual_seed(3), **METHODS[method]
    )
    result = explainer(*inputs, target=target, **kwargs).raw  # type: ignore[arg-type]
    assert isinstance(result, Tensor)
    return result


def of_two(beside: object) -> object:
    """What there is for three images, for two."""
    if isinstance(beside, list):
        return beside[:2]
    return mapped(beside, lambda one: one[:2] if len(one) == IMAGES else one[:, :2])


@pytest.mark.parametrize("batch", [IMAGES, 2])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_its_images_give_alone(method: str, name: str, batch: int) -> None:
    case = CASES[name]
    model = case.model()
    beside = case.beside if batch == IMAGES else of_two(case.beside)
    together = raw(method, model, X[:batch], beside=beside)
    alone = [raw(method, model, X[i : i + 1], beside=case.own(beside, i)) for i in range(batch)]
    assert together.abs().amax() > 0
    torch.testing.assert_close(together, torch.cat(alone))


def test_score_cam_by_hand_beside_as_many_prototypes() -> None:
    model, beside = Prototypes(), drawn(IMAGES, 4)
    with torch.no_grad():
        activation = model.conv(X[:1])
        low, high = activation.amin((2, 3), keepdim=True), activation.amax((2, 3), keepdim=True)
        masked = X[:1] * ((activation - low) / (high - low))[0][:, None]
        weights = model(masked, beside).softmax(1)[:, 1]
        by_hand = (weights[:, None, None] * activation[0]).sum(0)
    torch.testing.assert_close(raw("scorecam", model, X, beside)[0], by_hand)


@pytest.mark.parametrize("method", METHODS)
def test_one_image_and_one_text(method: str) -> None:
    # Were the text repeated as the image is, there would be as many classes as variants.
    model, beside = Prototypes(), drawn(1, 4)

    class Beside(Prototypes):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x, beside)

    inside = raw(method, Beside(), X[:1], target=0)
    torch.testing.assert_close(raw(method, model, X[:1], beside, target=0), inside)


def run_of(model: nn.Module, *inputs: object, target: object = 1, **kwargs: object):  # type: ignore[no-untyped-def]
    def work(taps: Taps) -> Run:
        given = Inputs.of(model, inputs, kwargs)
        return look(Asked(model), taps, given, target)  # type: ignore[arg-type]

    return tapped(model, ["conv"], work)


def counted(model: nn.Module) -> list[int]:
    sizes: list[int] = []
    model.conv.register_forward_hook(lambda layer, args, out: sizes.append(len(args[0])))
    return sizes


class TestThePrice:
    def test_nothing_where_the_image_is_all_there_is(self) -> None:
        class Plain(Net):
            def forward(self, x: Tensor, scale: float = 1.0, rate: Tensor | None = None) -> Tensor:
                logits: Tensor = self.fc(self.seen(x) * scale)
                return logits

        model = Plain()
        sizes = counted(model)
        run = run_of(model, X, 2.0, rate=torch.tensor(3.0))
        module.inputs_of(run, 0, X[:2])
        module.output_axes(run)
        assert sizes == [IMAGES]

    def test_two_images_once_where_all_are_each_image_s_own_and_none_for_a_plain_map(self) -> None:
        model = Facts()
        sizes = counted(model)
        run = run_of(model, X, drawn(IMAGES, 1))
        assert module.output_axes(run) == {(): 0}
        assert sizes == [IMAGES]
        for _ in range(2):
            module.inputs_of(run, 0, X[:2])
        assert sizes == [IMAGES, 2]
        assert run.known[0].inputs == {(0, 1): 0}


class TestNetworksThatDoNotAnswer:
    def test_for_one_image_alone_are_refused_with_the_inputs_named(self) -> None:
        class Ranked(Facts):
            def forward(self, x: Tensor, beside: Tensor) -> Tensor:
                logits = super().forward(x, beside)
                return logits - logits.mean(0, keepdim=True)

        with pytest.raises(gh.InputError, match=r"other inputs \(beside\).* Pass one image at a"):
            raw("scorecam", Ranked(), X, beside=drawn(IMAGES, 1))

    def test_in_the_same_way_twice(self) -> None:
        class Noisy(Facts):
            def forward(self, x: Tensor, beside: Tensor) -> Tensor:
                return super().forward(x, beside) + torch.rand(len(x), IMAGES)

        with pytest.raises(gh.InputError, match=r"draws random numbers or keeps a state"):
            raw("rise", Noisy(), X[:1], beside=drawn(1, 1))

    def test_whatever_is_left_out_tell_their_own_error(self) -> None:
        class Picky(Facts):
            def forward(self, x: Tensor, beside: Tensor) -> Tensor:
                if len(x) != IMAGES:
                    raise KeyError("never heard of it")
                return super().forward(x, beside)

        with pytest.raises(
            gh.InputError, match=r"ended in KeyError: 'never heard of it'"
        ) as caught:
            raw("rise", Picky(), X, beside=drawn(IMAGES, 1))
        assert isinstance(caught.value.__cause__, KeyError)

    def test_with_logits_for_each_image(self) -> None:
        class Pooled(Net):
            def forward(self, x: Tensor) -> Tensor:
                logits: Tensor = self.fc(self.seen(x))
                return logits if len(x) == 1 else logits.sum(0, keepdim=True).expand(3, -1)

        run = run_of(Pooled(), X[:1])
        output = run.output_of(module.inputs_of(run, 0, X[:2]))
        with pytest.raises(gh.InputError, match=r"for 2 images .*\(3, 3\), whose first axis"):
            module.scores_of(run, output, 0, 2)


class Several(Prototypes):
    """As CLIP answers: scores of images and of texts, and what both were made of."""

    def forward(self, x: Tensor, beside: Tensor) -> dict[str, object]:  # type: ignore[override]
        scores = super().forward(x, beside)
        boxes = [{"count": row.sum()} for row in scores]
        return {"of_texts": scores.T, "of_images": scores, "texts": beside, "boxes": boxes}


class TestTheOutput:
    def test_of_one_image_is_what_belongs_to_it(self) -> None:
        model, beside = Several(), drawn(IMAGES, 4)
        result = gh.GradCAM(model, "conv", output="of_images")(X, beside, target=1)
        whole = model(X, beside)
        for index, one in enumerate(result):
            assert isinstance(one.output, dict)
            torch.testing.assert_close(one.output["of_images"], whole["of_images"][index, None])
            torch.testing.assert_close(one.output["of_texts"], whole["of_texts"][:, index, None])
            assert one.output["texts"] is result.output["texts"]  # type: ignore[index]
            assert len(one.output["boxes"]) == 1
            torch.testing.assert_close(one.output["boxes"][0], whole["boxes"][index])
            again = one[0].output
            assert isinstance(again, dict)
            torch.testing.assert_close(again["of_texts"], one.output["of_texts"])

    @pytest.mark.parametrize("method", ["rise", "scorecam", "ablationcam"])
    def test_a_function_of_several_parts_sees_those_of_its_image(self, method: str) -> None:
        class Bare(Prototypes):
            """The same score as a single logit."""

            def forward(self, x: Tensor, beside: Tensor) -> Tensor:
                return super().forward(x, beside)[:, :1] * 2

        beside = drawn(IMAGES, 4)

        def both(output: object) -> Tensor:
            assert isinstance(output, dict)
            assert torch.equal(output["texts"], beside)  # as many as ever, and in their order
            total: Tensor = output["of_images"][:, 0] + output["of_texts"][0]
            return total

        def plain(output: object) -> Tensor:
            assert isinstance(output, Tensor)
            return output[:, 0]

        torch.testing.assert_close(
            raw(method, Several(), X, beside, target=both),
            raw(method, Bare(), X, beside, target=plain),
        )

    def test_no_part_that_is_as_long_as_the_chunk_is_taken_apart(self) -> None:
        # Four variants at a time, and four anchors.
        class Anchored(Net):
            def forward(self, x: Tensor) -> dict[str, Tensor]:
                return {"seen": self.seen(x), "anchors": torch.arange(4.0, dtype=x.dtype)}

        class Plain(Net):
            def forward(self, x: Tensor) -> Tensor:
                return self.seen(x) @ torch.arange(4.0, dtype=x.dtype)[:, None]

        def anchored(output: object) -> Tensor:
            assert isinstance(output, dict)
            scores: Tensor = output["seen"] @ output["anchors"]
            return scores

        torch.testing.assert_close(
            raw("rise", Anchored(), X[:1], target=anchored),
            raw("rise", Plain(), X[:1], target=lambda output: output[:, 0]),
        )
