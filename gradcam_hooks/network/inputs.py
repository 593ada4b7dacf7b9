"""What goes into the model: one object, which knows where among it the image is.

`Inputs` is what every pass is run with: the arguments as they came, the image that the map lies
on, and the way to put another in its place. Knows tensors, containers and modules; pictures on
disk are `images`' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gradcam_hooks.errors import DeviceError, GradientError, InputError
from gradcam_hooks.network.along import Along, taken
from gradcam_hooks.network.misfits import check_no_loader
from gradcam_hooks.network.places import Given, ImageSpec, Place, find_place, image_at
from gradcam_hooks.network.tree import Path, children, mapped, rebuilt, tensors

__all__ = ["Inputs"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The arguments of a model's forward, and the image among them.

    Attributes:
        args: the positional arguments.
        kwargs: the keyword arguments.
        image: the image that the map lies on, ``(batch, channels, *space)``; of a list of pictures
            their stack.
        axes: the user's word on the image's axes; None where nobody said.
    """

    args: tuple[object, ...]
    kwargs: dict[str, object]
    image: Tensor
    place: Place
    axes: str | None = None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        args: Sequence[object],
        kwargs: Mapping[str, object],
        *,
        image: ImageSpec = None,
        rank: int | None = None,
        axes: str | None = None,
    ) -> Inputs:
        """The inputs of one call, checked: an image is among them, and all is where the model is.

        The image is the first floating-point tensor with space, or the first list of pictures
        ``(channels, height, width)``, as torchvision's detectors take it, or of dicts that each
        hold one, as detectron2's do. Where ``rank`` is told, it has as many axes; ``axes`` are
        kept as they were said.

        Inference tensors are copied, for such a tensor can take no part in a graph. Subclasses
        that are a tensor with notes (MONAI's MetaTensor) go in as the tensor they are.

        Raises:
            InputError: there is no image, or it lacks its batch axis, or pictures differ in size.
            DeviceError, GradientError: the model cannot be run where it and these are.

        >>> import torch
        >>> left, right = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
        >>> Inputs.of(nn.Flatten(), [{"left": left, "right": right}], {}).place.path
        (0, 0, 'left')
        >>> Inputs.of(nn.Flatten(), [left, right], {}, image=1).place.path
        (0, 1)
        """
        check_no_loader(args)
        given = mapped((tuple(args), dict(kwargs)), _plain)
        place = find_place(given, model, image, rank)
        _check_model(given, model)
        found = image_at(given, place)
        if not found.numel():
            raise InputError(
                f"the image has shape {tuple(found.shape)}, in which there is nothing to explain. "
                "Pass one image at least; where a loop may come to an empty batch, pass over it."
            )
        return cls(*given, found, place, axes)

    @property
    def batch(self) -> int:
        """How many images there are."""
        return len(self.image)

    def call(self, model: nn.Module) -> object:
        """What the model returns for these inputs."""
        return model(*self.args, **self.kwargs)

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor among the inputs, in order."""
        return tensors((self.args, self.kwargs))

    def versions(self) -> list[int]:
        """How often each tensor among the inputs was written to."""
        return [one._version for one in self.tensors() if not one.is_inference()]

    def copied(self) -> Inputs:
        """The same in memory of their own, for a model that may write to them; in the graph."""
        with torch.enable_grad():
            return self._changed(Tensor.clone)

    def with_image(self, image: Tensor) -> Inputs:
        """The same inputs with another image, of the same shape, in the place of this one."""
        return self._with(image, range(len(image)))

    def with_tensors(self, new: Sequence[Tensor]) -> Inputs:
        """The same inputs with other tensors, of the same shapes, in the place of `tensors`."""
        others = iter(new)
        return self._changed(lambda tensor: next(others))

    def on(self, path: Path) -> Inputs:
        """The same inputs, the tensor at the end of ``path`` being the image."""
        place = Place(path)
        image = image_at((self.args, self.kwargs), place)
        return replace(self, image=image, place=place, axes=None)

    def of_rows(self, rows: Sequence[int], images: Tensor, along: Along) -> Inputs:
        """The inputs for some of the images, or for variants of them.

        Args:
            rows: which image of the batch each is, or is a variant of.
            images: as many, ``(variants, channels, *space)``.
            along: what of the other inputs belongs to each image, and goes with it.
        """
        args, kwargs = taken((self.args, self.kwargs), along, rows)
        return replace(self, args=args, kwargs=kwargs)._with(images, rows)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        args, kwargs = mapped((self.args, self.kwargs), change)
        image = image_at((args, kwargs), self.place)
        return replace(self, args=args, kwargs=kwargs, image=image)

    def _with(self, image: Tensor, rows: Sequence[int]) -> Inputs:
        """The same inputs with ``image`` in its place, made of the given ones' ``rows``."""
        path, inside = self.place.path, self.place.inside

        def change(here: Path, part: object) -> object:
            if here != path:
                return part
            if inside is None:
                return image
            elements = dict(children(part))
            new = [
                rebuilt(elements[row], lambda way, one, at=picture: at if way == inside else one)  # type: ignore[misc]
                for row, picture in zip(rows, image.unbind(0), strict=True)
            ]
            return tuple(new) if isinstance(part, tuple) else new

        args, kwargs = rebuilt((self.args, self.kwargs), change)
        return replace(self, args=args, kwargs=kwargs, image=image)


def _plain(tensor: Tensor) -> Tensor:
    """The same values as a tensor that may take part in a graph, and that NumPy can read."""
    if tensor.is_inference():
        tensor = tensor.clone()
    noted = type(tensor) not in (Tensor, nn.Parameter)
    if noted and type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__:
        tensor = tensor.as_subclass(Tensor)
    return tensor.resolve_neg() if tensor.is_neg() else tensor


def _check_model(given: Given, model: nn.Module) -> None:
    """Raise unless the model can be explained with these inputs where both are now.

    A model on several devices is trusted to know its own.
    """
    # The first parameter speaks for all, which is what can be afforded at every call.
    parameter = next(model.parameters(), None)
    if parameter is None:
        return
    if parameter.is_inference():
        raise GradientError(
            "the model's parameters were made under inference_mode, so PyTorch lets no gradient "
            "pass through them. Build, load or move the model outside of it, or explain "
            "copy.deepcopy(model), made outside of it."
        )
    device = parameter.device
    if device.type == "meta":
        raise DeviceError(
            "the model's parameters are on the meta device and hold no values. Load its weights, "
            "or model.to_empty(device='cpu') and draw them."
        )
    for tensor in tensors(given):
        if tensor.device != device and len({one.device for one in model.parameters()}) == 1:
            raise DeviceError(
                f"the input is on {tensor.device}, the model's parameters are on {device}. "
                f"Move one to the other: x.to({str(device)!r}) or model.to({str(tensor.device)!r})."
            )
