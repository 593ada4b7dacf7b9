"""The one walk over structures of tensors: every kind is read, and written without a trace."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict, UserList, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import gradcam_hooks as gh
from gradcam_hooks.network.along import taken
from gradcam_hooks.network.outputs import detached, with_tensor
from gradcam_hooks.network.tree import at, children, drawn, mapped, rebuilt, tensors, walk

A, B = torch.arange(3.0), torch.arange(4)
Pair = namedtuple("Pair", ["a", "b"])


class Named(Pair):
    """A named tuple whose own constructor takes something else."""

    def __new__(cls, both: tuple[Tensor, Tensor]) -> Named:
        return super().__new__(cls, *both)


@dataclasses.dataclass
class Plain:
    a: Tensor
    b: object


@dataclasses.dataclass
class Derived(Plain):
    c: int = 7


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: Tensor
    b: object


@dataclasses.dataclass(frozen=True, slots=True)
class Slots(Frozen):
    c: int = 7


@dataclasses.dataclass
class Worked:
    """A field that no constructor takes, and one that is never set."""

    a: Tensor
    b: Tensor = dataclasses.field(init=False)
    unset: Tensor = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.b = B

    @cached_property
    def double(self) -> Tensor:
        return self.a * 2


class Attributes(dict[str, object]):
    """A dict whose keys are its attributes, as many programs have one."""

    def __init__(self, **parts: object) -> None:
        super().__init__(**parts)
        self.__dict__ = self


class ReadOnly(Mapping[str, object]):
    """A mapping of somebody's own that cannot be written to."""

    def __init__(self, parts: Mapping[str, object]) -> None:
        self._parts = dict(parts)

    def __getitem__(self, key: str) -> object:
        return self._parts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


class NestedTensor:
    """As DETR's: a padded batch and which of it is padding, in a plain object."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self.tensors, self.mask = a, b


class Slotted:
    __slots__ = ("__private", "a")

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self.a, self.__private = a, b

    def both(self) -> tuple[Tensor, Tensor]:
        return self.a, self.__private


class Registered:
    """What torch's pytree was told of, its tensors where nobody would look for them."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self.hidden = (lambda: a, lambda: b)


pytree.register_pytree_node(
    Registered,
    lambda one: ([part() for part in one.hidden], None),
    lambda parts, _: Registered(*parts),
)


def image_list(a: Tensor, b: Tensor) -> object:
    from torchvision.models.detection.image_list import ImageList

    return {"images": ImageList(a, [(1, 2)]), "b": b}


def batch_feature(a: Tensor, b: Tensor) -> object:
    from transformers import BatchFeature

    return BatchFeature({"a": a, "b": b})


def batch_encoding(a: Tensor, b: Tensor) -> object:
    from transformers import BatchEncoding

    return BatchEncoding({"a": a, "b": b})


def model_output(a: Tensor, b: Tensor) -> object:
    from transformers.modeling_outputs import ImageClassifierOutput

    return ImageClassifierOutput(logits=a, hidden_states=(b,))


def of_keys(one: object) -> tuple[object, object]:
    return one["a"], one["b"]  # type: ignore[index]


def of_names(one: object) -> tuple[object, object]:
    return one.a, one.b  # type: ignore[attr-defined]


def of_items(one: object) -> tuple[object, object]:
    return one[0], one[1]  # type: ignore[index]


Make = Callable[[Tensor, Tensor], object]
Read = Callable[[object], tuple[object, object]]
KINDS: dict[str, tuple[Make, Read]] = {
    "dict": (lambda a, b: {"a": a, "b": b}, of_keys),
    "OrderedDict": (lambda a, b: OrderedDict(a=a, b=b), of_keys),
    "defaultdict": (lambda a, b: defaultdict(list, a=a, b=b), of_keys),
    "UserDict": (lambda a, b: UserDict(a=a, b=b), of_keys),
    "UserDict with the key data": (
        lambda a, b: UserDict(data=a, b=b),
        lambda one: (one["data"], one["b"]),  # type: ignore[index]
    ),
    "MappingProxyType": (lambda a, b: MappingProxyType({"a": a, "b": b}), of_keys),
    "read-only mapping": (lambda a, b: ReadOnly({"a": a, "b": b}), of_keys),
    "dict of attributes": (lambda a, b: Attributes(a=a, b=b), of_names),
    "its keys": (lambda a, b: Attributes(a=a, b=b), of_keys),
    "BatchFeature": (batch_feature, of_keys),
    "BatchEncoding": (batch_encoding, of_names),
    "ModelOutput": (model_output, lambda one: (one.logits, one.hidden_states[0])),  # type: ignore[attr-defined]
    "keys of a ModelOutput": (model_output, lambda one: (one["logits"], one[1][0])),  # type: ignore[index]
    "list": (lambda a, b: [a, b], of_items),
    "tuple": (lambda a, b: (a, b), of_items),
    "deque": (lambda a, b: deque([a, b], maxlen=2), of_items),
    "UserList": (lambda a, b: UserList([a, b]), of_items),
    "named tuple": (Pair, of_names),
    "named tuple with a constructor": (lambda a, b: Named((a, b)), of_names),
    "torch.return_types": (
        lambda a, b: torch.return_types.max([a, b]),
        lambda one: (one.values, one.indices),  # type: ignore[attr-defined]
    ),
    "dataclass": (Plain, of_names),
    "its heir": (Derived, of_names),
    "frozen": (Frozen, of_names),
    "frozen with slots": (Slots, of_names),
    "SimpleNamespace": (lambda a, b: SimpleNamespace(a=a, b=b), of_names),
    "DETR's NestedTensor": (NestedTensor, lambda one: (one.tensors, one.mask)),  # type: ignore[attr-defined]
    "private slots": (Slotted, lambda one: one.both()),  # type: ignore[attr-defined]
    "registered": (Registered, lambda one: tuple(part() for part in one.hidden)),  # type: ignore[attr-defined]
    "ImageList": (image_list, lambda one: (one["images"].tensors, one["b"])),  # type: ignore[index]
    "one in another": (
        lambda a, b: {"x": [Plain(a, (UserDict(y=b),))]},
        lambda one: (one["x"][0].a, one["x"][0].b[0]["y"]),
    ),  # type: ignore[index]
}


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_is_read_and_written_the_same(self, kind: str) -> None:
        make, read = KINDS[kind]
        given = make(A, B)
        found = list(tensors(given))
        assert len(found) == 2
        assert {id(one) for one in found} == {id(A), id(B)}
        doubled = mapped(given, lambda one: one * 2)
        assert type(doubled) is type(given)
        for new, old in zip(read(doubled), (A, B), strict=True):
            assert isinstance(new, Tensor)
            assert new.tolist() == (2 * old).tolist()
        assert {id(one) for one in tensors(doubled)} == {id(one) for one in read(doubled)}

    def test_what_is_given_stays_as_it_was(self, kind: str) -> None:
        make, read = KINDS[kind]
        given = make(A, B)
        mapped(given, lambda one: one + 1)
        assert read(given)[0] is A
        assert read(given)[1] is B

    def test_where_nothing_changes_it_is_the_same_object(self, kind: str) -> None:
        make, read = KINDS[kind]
        given = make(A, B)
        assert mapped(given, lambda one: one) is given
        half = with_tensor(given, A, A + 1)
        assert read(half)[1] is B

    def test_a_way_leads_to_each_tensor_and_words_tell_of_it(self, kind: str) -> None:
        given = KINDS[kind][0](A, B)
        ways = [path for path, part in walk(given) if isinstance(part, Tensor)]
        assert [id(at(given, way)) for way in ways] == [id(one) for one in tensors(given)]
        other = torch.zeros(1)
        for way in ways:
            new = rebuilt(given, lambda path, part, way=way: other if path == way else part)  # type: ignore[misc]
            assert at(new, way) is other
            assert sum(one is other for one in tensors(new)) == 1
        assert drawn(given).count("torch.float32") == drawn(given).count("torch.int64") == 1


class TestLeaves:
    @pytest.mark.parametrize(
        "leaf",
        [None, 3, "text", b"bytes", range(10**12), nn.Linear(2, 2), Plain, torch.device("cpu")],
        ids=lambda leaf: type(leaf).__name__,
    )
    def test_have_no_parts(self, leaf: object) -> None:
        assert list(children(leaf)) == []
        assert list(tensors([leaf])) == []

    def test_an_object_without_tensors_is_one_and_one_with_a_cache_of_them_is_not(self) -> None:
        from transformers import DynamicCache

        cache = DynamicCache()
        cache.update(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4), 0)
        assert len(list(tensors({"past": cache}))) == 2
        copied = mapped(cache, Tensor.clone)
        copied.update(torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 4), 0)
        assert (cache.get_seq_length(), copied.get_seq_length()) == (3, 8)
        assert list(children(SimpleNamespace(size=(2, 3)))) == []


class TestObjects:
    def test_what_is_worked_out_of_the_parts_is_not_kept_beside_new_ones(self) -> None:
        given = Worked(A)
        assert given.double.tolist() == [0, 2, 4]
        new = mapped(given, lambda one: one + 1)
        assert new.double.tolist() == [2, 4, 6]
        assert new.b.tolist() == [1, 2, 3, 4]
        assert not hasattr(new, "unset")

    def test_attributes_beside_the_fields_are_parts_too(self) -> None:
        given = Plain(A, None)
        given.beside = [B]  # type: ignore[attr-defined]
        new = mapped(given, lambda one: one + 1)
        assert new.beside[0].tolist() == [1, 2, 3, 4]  # type: ignore[attr-defined]

    def test_a_dict_of_attributes_stays_one(self) -> None:
        new = mapped(Attributes(a=A), lambda one: one + 1)
        new.later = 5  # type: ignore[attr-defined]
        assert new["later"] == 5


class TestStructuresThatHoldThemselves:
    def test_are_read_to_an_end_and_copied_with_their_circle(self) -> None:
        given: list[object] = [A]
        given.append({"up": (given,)})
        assert list(tensors(given)) == [A]
        assert mapped(given, lambda one: one) is given
        new = mapped(given, lambda one: one + 1)
        assert new is not given
        assert new[1]["up"][0] is new  # type: ignore[index]
        assert given[1]["up"][0] is given  # type: ignore[index]

    def test_an_object_and_its_parent(self) -> None:
        parent, child = SimpleNamespace(image=A), SimpleNamespace()
        parent.child, child.parent = child, parent
        new = mapped(parent, lambda one: one + 1)
        assert new.child.parent is new
        assert new.child.parent.image.tolist() == [1, 2, 3]


class Refusing(UserDict[str, Tensor]):
    """A mapping that keeps a copy of what it is given."""

    def __setitem__(self, key: str, part: Tensor) -> None:
        super().__setitem__(key, part.clone())


class TestWhatCannotBePutTogether:
    def test_is_an_error_with_its_class_and_never_the_original(self) -> None:
        with pytest.raises(gh.InputError, match=r"Refusing cannot be put together again .*dict"):
            mapped([Refusing(a=A)], lambda one: one + 1)

    def test_is_named_where_a_layer_returns_it(self) -> None:
        class Layer(nn.Conv2d):
            def forward(self, x: Tensor) -> Refusing:
                return Refusing(a=super().forward(x))

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = Layer(3, 4, 3)

            def forward(self, x: Tensor) -> Tensor:
                logits: Tensor = self.layer(x)["a"].mean((2, 3))
                return logits

        with pytest.raises(gh.LayerError, match=r"returns a Refusing in which its tensor cannot"):
            gh.explain(Net(), torch.rand(1, 3, 8, 8), "layer", target=0)

    def test_stays_as_it_is_in_a_result(self) -> None:
        leaf = torch.ones(2, 3, requires_grad=True)
        odd = Refusing(a=leaf * 2)
        result = detached({"odd": odd, "logits": leaf * 2})
        assert result["odd"] is odd  # type: ignore[index]
        assert not result["logits"].requires_grad  # type: ignore[index]
        assert taken({"odd": odd, "x": leaf}, {("odd", "a"): 0}, [1])["odd"] is odd  # type: ignore[index]
