"""Which input is the image, by rule and by the user's word, and other images in its place."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.network.inputs import Inputs

X, Y = torch.rand(2, 3, 8, 10), torch.rand(2, 3, 8, 10)
TOKENS = torch.tensor([[1, 2, 3], [4, 5, 6]])
PICTURES = nn.Conv2d(3, 4, 3)


def found(*args: object, model: nn.Module = PICTURES, **kwargs: object) -> Inputs:
    return Inputs.of(model, args, kwargs)


@dataclass(frozen=True)
class Batch:
    tokens: Tensor
    image: Tensor


class TestByRule:
    @pytest.mark.parametrize(
        ("args", "kwargs", "path"),
        [
            ((X,), {}, (0, 0)),
            ((TOKENS, X), {}, (0, 1)),
            ((), {"ids": TOKENS, "pixels": X}, (1, "pixels")),
            (({"ids": TOKENS, "views": [X, Y]},), {}, (0, 0, "views", 0)),
            ((UserDict(ids=TOKENS, pixels=X),), {}, (0, 0, "pixels")),
            ((Batch(TOKENS, X),), {}, (0, 0, "image")),
            ((SimpleNamespace(tensors=X, mask=X[:, 0] > 0),), {}, (0, 0, "tensors")),
            (([X, Y],), {}, (0, 0, 0)),
        ],
    )
    def test_the_first_tensor_with_space(
        self, args: tuple[object, ...], kwargs: dict[str, object], path: tuple[object, ...]
    ) -> None:
        inputs = found(*args, **kwargs)
        assert inputs.place.path == path
        assert inputs.image is X

    @pytest.mark.parametrize(
        "listed",
        [
            list(X),
            tuple(X),
            [{"image": one, "height": 8} for one in X],
            [{"scale": torch.ones(1), "image": one} for one in X],
            [{"pixels": one} for one in X],
            [SimpleNamespace(pixels=one, size=(8, 10)) for one in X],
        ],
        ids=["tensors", "tuple", "detectron2", "image behind", "another key", "objects"],
    )
    def test_a_list_of_pictures_is_stacked(self, listed: object) -> None:
        assert torch.equal(found(listed).image, X)
        assert torch.equal(found(TOKENS, pictures=listed).image, X)

    def test_dicts_may_hold_bytes_or_many_channels_as_an_image(self) -> None:
        whole = torch.randint(0, 255, (2, 6, 8, 8), dtype=torch.uint8)
        assert torch.equal(found([{"image": one} for one in whole]).image, whole)

    def test_a_signal_network_takes_lists_of_batches(self) -> None:
        signals = torch.rand(3, 2, 16)
        assert found([signals, signals], model=nn.Conv1d(2, 4, 3)).image is signals

    def test_the_arguments_are_no_list_of_pictures_themselves(self) -> None:
        signal = torch.rand(1, 2, 4)
        assert found(signal, model=nn.Linear(4, 2)).image is signal

    def test_as_many_axes_as_are_told(self) -> None:
        wave = torch.rand(2, 100)
        assert Inputs.of(nn.Linear(100, 2), [TOKENS, wave], {}, rank=2).image is wave
        with pytest.raises(gh.InputError, match=r"of 4 axes is needed, .* \(2, 100\)\."):
            Inputs.of(nn.Linear(100, 2), [wave], {}, rank=4)

    def test_what_came_instead_is_said(self) -> None:
        with pytest.raises(gh.InputError, match=r"what came is \(2, 3\) torch.int64\."):
            found(TOKENS)
        with pytest.raises(gh.InputError, match=r"no tensor at all"):
            found([], {})
        with pytest.raises(gh.InputError, match=r"2 shapes, \(3, 8, 10\), \(3, 8, 8\).*\[image\]"):
            found([X[0], X[0, ..., :8]])
        with pytest.raises(gh.InputError, match=r"pass image\[None\]"):
            found(X[0])
        ragged = torch.nested.nested_tensor([X[0], X[0, :2]], layout=torch.jagged)
        with pytest.raises(gh.InputError, match=r"nested tensor, .* one size\. Pass one image at"):
            found(ragged)


class Two(nn.Module):
    """Two pictures, each with its own layer; how the second is seen is another colour's matter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(12, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        sides = self.one(left).relu().mean((2, 3)), self.two(right).relu().mean((2, 3))
        logits: Tensor = self.fc(torch.cat(sides, 1))
        return logits


class TestByTheUsersWord:
    @pytest.mark.parametrize("spec", [1, "1", -1, "right"])
    def test_an_argument(self, spec: str | int) -> None:
        inputs = Inputs.of(Two(), [X, Y], {}, image=spec)
        assert inputs.place.path == (0, 1)
        assert inputs.image is Y

    @pytest.mark.parametrize("spec", ["right", "pair.right", "pair"])
    def test_a_keyword_and_a_way(self, spec: str) -> None:
        given = {"right": Y} if spec == "right" else {"pair": {"right": Y, "left": X}}
        assert Inputs.of(Two(), [], given, image=spec).image is Y

    def test_a_part_of_the_only_argument(self) -> None:
        given = [{"left": X, "right": {2: Y}}]
        assert Inputs.of(PICTURES, given, {}, image="right.2").place.path == (0, 0, "right", 2)
        assert Inputs.of(PICTURES, given, {}, image="0.right").image is Y

    def test_any_tensor_and_any_list(self) -> None:
        assert Inputs.of(PICTURES, [X, TOKENS], {}, image=1).image is TOKENS
        assert torch.equal(Inputs.of(PICTURES, [X, list(Y)], {}, image=1).image, Y)

    @pytest.mark.parametrize("spec", ["middle", 2, "left.x", 1.5])
    def test_what_there_is_where_it_names_nothing(self, spec: object) -> None:
        with pytest.raises(gh.InputError, match=r"names none of the inputs") as caught:
            Inputs.of(Two(), [X], {"right": Y}, image=spec)  # type: ignore[arg-type]
        assert "'right': (2, 3, 8, 10) torch.float32" in str(caught.value)

    def test_one_tensor_in_two_places_is_replaced_in_the_one(self) -> None:
        inputs = Inputs.of(Two(), [X, X], {}, image="right").with_image(Y)
        assert inputs.args[0] is X
        assert inputs.args[1] is Y

    @pytest.mark.parametrize("method", ["gradcam", "scorecam", "rise", "integratedgradcam"])
    def test_the_map_lies_on_it(self, method: str) -> None:
        how = {"masks": 32} if method == "rise" else {}

        def explained(layer: str, side: str, *sides: Tensor) -> gh.Explanation:
            seed = torch.Generator().manual_seed(0)
            explainer = gh.explainer(method, Two(), layer, image=side, generator=seed, **how)
            return explainer(*sides, target=1)

        net = Two()
        right = explained("two", "right", X, Y)
        assert right.image is Y

        class Swapped(Two):
            def forward(self, left: Tensor, right: Tensor) -> Tensor:
                return super().forward(right, left)

        swapped = Swapped()
        swapped.load_state_dict(net.state_dict())
        seed = torch.Generator().manual_seed(0)
        first = gh.explainer(method, swapped, "two", generator=seed, **how)(Y, X, target=1)
        torch.testing.assert_close(right.raw, first.raw)

    def test_the_overlay_is_of_the_picture_that_was_meant(self) -> None:
        red, blue = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
        result = gh.GradCAM(Two(), "two", image="right")(red, blue, target=1)
        drawn = result.overlay(alpha=0.0).getpixel((3, 3))
        assert drawn == (0, 0, 255)

    def test_an_argument_of_the_model_may_be_called_image(self) -> None:
        class Net(nn.Conv2d):
            def forward(self, image: Tensor) -> Tensor:
                return super().forward(image).mean((2, 3))

        assert len(gh.layers(Net(3, 4, 3), image=X)) == 1


class TestOthersInItsPlace:
    def test_with_image_changes_nothing_else_and_nothing_of_the_users(self) -> None:
        batch = {"ids": TOKENS, "views": [X, Y]}
        new = found(batch).with_image(X + 1)
        assert new.image.equal(X + 1)
        assert new.args[0]["views"][0] is new.image  # type: ignore[index]
        assert new.args[0]["views"][1] is Y  # type: ignore[index]
        assert new.args[0]["ids"] is TOKENS  # type: ignore[index]
        assert batch["views"][0] is X

    def test_variants_of_one_bring_what_belongs_to_it(self) -> None:
        inputs = found({"x": X, "ids": TOKENS, "names": ["a", "b"], "shared": Y})
        along = {(0, 0, "ids"): 0, (0, 0, "names"): 0}
        new = inputs.of_rows([1] * 3, X[:1].expand(3, 3, 8, 10), along).args[0]
        assert new["ids"].tolist() == [[4, 5, 6]] * 3  # type: ignore[index]
        assert new["names"] == ["b"] * 3  # type: ignore[index]
        assert new["shared"] is Y  # type: ignore[index]
        assert len(new["x"]) == 3  # type: ignore[index]

    def test_each_picture_of_a_list_keeps_its_own_words(self) -> None:
        listed = [{"image": one, "name": name} for one, name in zip(X, "ab", strict=True)]
        both = found(listed).with_image(Y).args[0]
        assert [one["name"] for one in both] == ["a", "b"]  # type: ignore[attr-defined]
        assert torch.equal(both[1]["image"], Y[1])  # type: ignore[index]
        three = found(listed).of_rows([1] * 3, Y[:1].expand(3, 3, 8, 10), {}).args[0]
        assert [one["name"] for one in three] == ["b"] * 3  # type: ignore[attr-defined]
        assert torch.equal(three[2]["image"], Y[0])  # type: ignore[index]
        assert listed[1]["image"].equal(X[1])  # type: ignore[union-attr]

    def test_copies_are_in_memory_of_their_own_and_in_the_graph(self) -> None:
        leaf = X.clone().requires_grad_()
        inputs = found([{"image": one} for one in leaf], TOKENS)
        copied = inputs.copied()
        copied.args[0][0]["image"].data.zero_()  # type: ignore[index]
        assert leaf.equal(X)
        assert copied.args[1] is not TOKENS
        assert inputs.versions() == [0, 0, 0]
        copied.image.sum().backward()
        assert leaf.grad is not None
        assert leaf.grad.eq(1).all()

    def test_inference_tensors_become_usable(self) -> None:
        with torch.inference_mode():
            made = torch.rand(1, 3, 8, 8)
        inputs = found({"x": made})
        assert not inputs.image.is_inference()
        assert inputs.image.equal(made)
