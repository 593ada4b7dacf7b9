"""Layouts: what `channels_first` reads and `put` writes, against indices worked out by hand."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.pattern import parse
from gradcam_hooks.layout.reading import Layout, ToldLayout, bind
from tests.support.numbered import indices, numbered

IMAGE, CLIP = InputAxes.read("b c h w", 4), InputAxes.read("b t c h w", 5)
SERIES, SOUND = InputAxes.read("b c t", 3), InputAxes.read("b f t", 3)


@dataclass(frozen=True)
class Case:
    """A pattern, what it is bound to, and where an element stands, by hand."""

    text: str
    shape: tuple[int, ...]
    inputs: InputAxes
    size: tuple[int, ...]
    sizes: tuple[int, ...]
    """Batch, channels and space, as they must come out."""
    at: Callable[..., tuple[int, ...]]
    """From the indices of batch, channel and space to those of the activation."""
    told: str
    channels: str = "c"
    view: bool = True


CASES = [
    Case(
        "b c h w", (2, 3, 4, 5), IMAGE, (8, 10), (2, 3, 4, 5),
        lambda b, c, h, w: (b, c, h, w), "b c=3 h=4 w=5",
    ),
    Case(
        "b c w h", (2, 3, 5, 4), IMAGE, (8, 10), (2, 3, 4, 5),
        lambda b, c, h, w: (b, c, w, h), "b c=3 w=5 h=4",
    ),
    Case(
        "b h w c", (2, 4, 5, 3), IMAGE, (8, 10), (2, 3, 4, 5),
        lambda b, c, h, w: (b, h, w, c), "b h=4 w=5 c=3",
    ),
    Case(
        "b h w", (2, 4, 5), IMAGE, (8, 10), (2, 1, 4, 5),
        lambda b, c, h, w: (b, h, w), "b h=4 w=5",
    ),
    Case(
        "b c w", (2, 3, 5), IMAGE, (8, 10), (2, 3, 1, 5),
        lambda b, c, h, w: (b, c, w), "b c=3 w=5",
    ),
    Case(
        "b c 1 w 1", (2, 3, 1, 5, 1), IMAGE, (8, 10), (2, 3, 1, 5),
        lambda b, c, h, w: (b, c, 0, w, 0), "b c=3 1 w=5 1",
    ),
    Case(
        "b c", (2, 3), IMAGE, (8, 10), (2, 3, 1, 1),
        lambda b, c, h, w: (b, c), "b c=3",
    ),
    Case(
        "b (h w) c", (2, 20, 3), IMAGE, (8, 10), (2, 3, 4, 5),
        lambda b, c, h, w: (b, 5 * h + w, c), "b (h=4 w=5) c=3",
    ),
    Case(
        "b (w h) c", (2, 20, 3), IMAGE, (8, 10), (2, 3, 4, 5),
        lambda b, c, h, w: (b, 4 * w + h, c), "b (w=5 h=4) c=3",
    ),
    Case(
        "b 1+(w h) c", (2, 21, 3), IMAGE, (8, 10), (2, 3, 4, 5),
        lambda b, c, h, w: (b, 1 + 4 * w + h, c), "b 1+(w=5 h=4) c=3",
    ),
    Case(
        "b 1+4+(h w)+2 c", (2, 27, 3), IMAGE, (8, 10), (2, 3, 4, 5),
        lambda b, c, h, w: (b, 5 + 5 * h + w, c), "b 1+4+(h=4 w=5)+2 c=3",
    ),
    Case(
        "b c 1+(h w)", (2, 3, 21), IMAGE, (8, 10), (2, 3, 4, 5),
        lambda b, c, h, w: (b, c, 1 + 5 * h + w), "b c=3 1+(h=4 w=5)",
    ),
    Case(
        "(h w)+1 b c", (21, 2, 3), IMAGE, (8, 10), (2, 3, 4, 5),
        lambda b, c, h, w: (5 * h + w, b, c), "(h=4 w=5)+1 b c=3",
    ),
    Case(
        "b c 2+w+1 h", (2, 3, 8, 4), IMAGE, (8, 10), (2, 3, 4, 5),
        lambda b, c, h, w: (b, c, 2 + w, h), "b c=3 2+w=5+1 h=4",
    ),
    Case(
        "(b h1=2 w1) (h2 w2) c", (12, 4, 3), IMAGE, (8, 12), (2, 3, 4, 6),
        lambda b, c, h, w: (6 * b + 3 * (h // 2) + w // 2, 2 * (h % 2) + w % 2, c),
        "(b h1=2 w1=3) (h2=2 w2=2) c=3", view=False,
    ),
    Case(
        "(b h2=2 w2) (h1 w1) c", (12, 4, 3), IMAGE, (8, 12), (2, 3, 4, 6),
        lambda b, c, h, w: (6 * b + 3 * (h % 2) + w % 3, 2 * (h // 2) + w // 3, c),
        "(b h2=2 w2=3) (h1=2 w1=2) c=3", view=False,
    ),
    Case(
        "(h1 w1 b) 1+(h2=2 w2=2) c", (12, 5, 3), IMAGE, (8, 12), (2, 3, 4, 6),
        lambda b, c, h, w: (2 * (3 * (h // 2) + w // 2) + b, 1 + 2 * (h % 2) + w % 2, c),
        "(h1=2 w1=3 b) 1+(h2=2 w2=2) c=3", view=False,
    ),
    Case(
        "(h1 b) (c2=2 h2=2) c1 w", (4, 4, 3, 5), IMAGE, (8, 10), (2, 6, 4, 5),
        lambda b, c, h, w: (2 * (h // 2) + b, 2 * (c % 2) + h % 2, c // 2, w),
        "(h1=2 b) (c2=2 h2=2) c1=3 w=5", view=False,
    ),
    Case(
        "(b t) c h w", (6, 3, 2, 2), CLIP, (3, 8, 8), (2, 3, 3, 2, 2),
        lambda b, c, t, h, w: (3 * b + t, c, h, w), "(b t=3) c=3 h=2 w=2",
    ),
    Case(
        "(t b) c h w", (6, 3, 2, 2), CLIP, (3, 8, 8), (2, 3, 3, 2, 2),
        lambda b, c, t, h, w: (2 * t + b, c, h, w), "(t=3 b) c=3 h=2 w=2",
    ),
    Case(
        "(b t) 1+(h w) c", (6, 5, 3), CLIP, (3, 8, 8), (2, 3, 3, 2, 2),
        lambda b, c, t, h, w: (3 * b + t, 1 + 2 * h + w, c), "(b t=3) 1+(h=2 w=2) c=3",
    ),
    Case(
        "(t b) 1+(h w) c", (6, 5, 3), CLIP, (3, 8, 8), (2, 3, 3, 2, 2),
        lambda b, c, t, h, w: (2 * t + b, 1 + 2 * h + w, c), "(t=3 b) 1+(h=2 w=2) c=3",
    ),
    Case(
        "(b h w) 1+t c", (8, 4, 3), CLIP, (3, 8, 8), (2, 3, 3, 2, 2),
        lambda b, c, t, h, w: (4 * b + 2 * h + w, 1 + t, c), "(b h=2 w=2) 1+t=3 c=3",
    ),
    Case(
        "b 1+(t=3 h w) c", (2, 13, 3), CLIP, (6, 8, 8), (2, 3, 3, 2, 2),
        lambda b, c, t, h, w: (b, 1 + 4 * t + 2 * h + w, c), "b 1+(t=3 h=2 w=2) c=3",
    ),
    Case(
        "b c h w", (2, 3, 2, 2), CLIP, (3, 8, 8), (2, 3, 1, 2, 2),
        lambda b, c, t, h, w: (b, c, h, w), "b c=3 h=2 w=2",
    ),
    Case(
        "b t", (2, 5), SERIES, (10,), (2, 1, 5),
        lambda b, c, t: (b, t), "b t=5",
    ),
    Case(
        "b t+100 c", (2, 105, 3), SERIES, (10,), (2, 3, 5),
        lambda b, c, t: (b, t, c), "b t=5+100 c=3",
    ),
    Case(
        "t b c", (5, 2, 3), SERIES, (10,), (2, 3, 5),
        lambda b, c, t: (t, b, c), "t=5 b c=3",
    ),
    Case(
        "b c f t", (2, 3, 4, 5), SOUND, (8, 10), (2, 12, 1, 5),
        lambda b, c, f, t: (b, c // 4, c % 4, t), "b c=3 f=4 t=5", channels="c f", view=False,
    ),
    Case(
        "b f t c", (2, 4, 5, 3), SOUND, (8, 10), (2, 12, 1, 5),
        lambda b, c, f, t: (b, c // 3, t, c % 3), "b f=4 t=5 c=3", channels="f c", view=False,
    ),
    Case(
        "b (f t) (c head=2)", (2, 20, 6), SOUND, (8, 10), (2, 6, 4, 5),
        lambda b, c, f, t: (b, 5 * f + t, 2 * (c % 3) + c // 3), "b (f=4 t=5) (c=3 head=2)",
        channels="head c", view=False,
    ),
    Case(
        "(head=3 b) t", (6, 5), SERIES, (10,), (2, 3, 5),
        lambda b, c, t: (2 * c + b, t), "(head=3 b) t=5", channels="head",
    ),
]  # fmt: skip
every = pytest.mark.parametrize(
    "case", CASES, ids=[f"{case.text} of {' '.join(case.inputs.space)}" for case in CASES]
)


def bound(case: Case) -> Layout:
    return bind(
        case.text, case.shape, case.inputs, case.size, case.sizes[0], channels=case.channels
    )


@every
def test_channels_first_reads_what_the_indices_say(case: Case) -> None:
    x, layout = numbered(case.shape), bound(case)
    found = layout.channels_first(x)
    assert found.shape == case.sizes
    assert (layout.channels, *layout.space) == case.sizes[1:]
    for index in indices(case.sizes):
        assert found[index] == x[case.at(*index)]


@every
def test_leading_axes_stay(case: Case) -> None:
    x, layout = numbered((2, 3, *case.shape)), bound(case)
    found = layout.channels_first(x)
    for i, j in indices((2, 3)):
        assert torch.equal(found[i, j], layout.channels_first(x[i, j]))


@every
def test_put_undoes_channels_first(case: Case) -> None:
    x, layout = numbered(case.shape), bound(case)
    assert torch.equal(layout.put(layout.channels_first(x), x), x)


@every
def test_put_writes_variants_where_the_indices_say(case: Case) -> None:
    """For many variants of one image: space is theirs, and all that is no space the image's."""
    layout, batch = bound(case), case.sizes[0]
    x = numbered(case.shape)
    for index in range(batch):
        one = layout.of_one(x, index)
        assert layout.batch(one.shape) == 1
        assert torch.equal(layout.channels_first(one), layout.channels_first(x)[index : index + 1])
        values = -numbered(case.sizes)
        put = layout.put(values, one)
        assert put.shape == x.shape
        expected = put.new_full(x.shape, torch.nan)
        for place in indices(case.sizes):
            expected[case.at(*place)] = values[place]
        for variant in range(batch):
            own, mine = layout.of_one(expected, variant), layout.of_one(put, variant)
            own = torch.where(own.isnan(), one, own)
            assert torch.equal(mine, own)


@every
def test_gradients_flow_both_ways(case: Case) -> None:
    x, layout = numbered(case.shape), bound(case)
    weight = numbered(case.sizes)
    x.requires_grad_()
    (found,) = torch.autograd.grad((layout.channels_first(x) * weight).sum(), x)
    assert torch.equal(found, layout.put(weight, torch.zeros_like(x)))
    values, outer = numbered(case.sizes).requires_grad_(), numbered(case.shape)
    (found,) = torch.autograd.grad((layout.put(values, x.detach()) * outer).sum(), values)
    assert torch.equal(found, layout.channels_first(outer))


@every
def test_its_text_is_the_same_layout_for_every_batch(case: Case) -> None:
    layout = bound(case)
    assert str(layout) == case.told
    again = bind(
        str(layout), case.shape, case.inputs, case.size, case.sizes[0], channels=case.channels
    )
    assert again == layout
    one = tuple(layout.of_one(numbered(case.shape), 0).shape)
    alone = bind(str(layout), one, case.inputs, case.size, 1, channels=case.channels)
    assert alone == layout
    assert layout.batch(case.shape) == case.sizes[0]


@every
def test_a_view_is_written_through(case: Case) -> None:
    layout = bound(case)
    assert layout.is_view == case.view
    wide = numbered((*case.shape[:-1], 2 * case.shape[-1]))
    for x in (numbered(case.shape), wide[..., ::2]):  # of one piece, and not
        before = x.clone()
        found = layout.channels_first(x)
        if case.view:
            found.zero_()
            zeros = torch.zeros(case.sizes, dtype=x.dtype)
            assert torch.equal(x, layout.put(zeros, before))


def test_what_stands_so_already_is_the_tensor_itself() -> None:
    x = torch.zeros(2, 3, 4, 5)
    layout = bind("b c h w", (2, 3, 4, 5), IMAGE, (8, 10), 2)
    assert layout.channels_first(x) is x
    assert layout.put(x, x) is x


def test_put_takes_the_type_of_the_activation() -> None:
    layout = bind("b 1+(h w) c", (2, 5, 3), IMAGE, (8, 8), 2)
    like = torch.ones(1, 5, 3, dtype=torch.bfloat16)
    put = layout.put(torch.zeros(4, 3, 2, 2), like)
    assert put.dtype == torch.bfloat16
    assert put.shape == (4, 5, 3)
    assert put.sum() == 4 * 3


def test_put_refuses_another_batch_and_another_shape() -> None:
    layout = bind("b 1+(h w) c", (2, 5, 3), IMAGE, (8, 8), 2)
    with pytest.raises(LayoutError, match="4 variants are put into an activation of a batch of 2"):
        layout.put(torch.zeros(4, 3, 2, 2), torch.zeros(2, 5, 3))
    with pytest.raises(LayoutError, match=r"axis 1 of \(1, 6, 3\) .* 6 less 1 .* is 5, and h x w"):
        layout.put(torch.zeros(1, 3, 2, 2), torch.zeros(1, 6, 3))


def test_the_words_for_tokens_are_kept_where_they_count_right() -> None:
    kinds = (("class", 1), ("register", 4))
    for text, kept in (("b 1+4+(h w) c", kinds), ("b 5+(h w) c", kinds), ("b 1+(h w)+4 c", ())):
        layout = bind(text, (2, 9, 3), IMAGE, (8, 8), 2, kinds=kinds)
        assert layout.kinds == kept
        assert layout.prefix + layout.behind == 5
        assert layout == bind(text, (2, 9, 3), IMAGE, (8, 8), 2)
    assert (layout.prefix, layout.behind, layout.batch_axis) == (1, 4, 0)


@pytest.mark.parametrize(
    ("text", "shape", "size", "space"),
    [
        ("b (h w) c", (1, 196, 8), (224, 224), (14, 14)),
        ("b (h w) c", (1, 70, 8), (224, 320), (7, 10)),
        ("b (w h) c", (1, 70, 8), (224, 320), (7, 10)),
        ("b 1+(h w) c", (1, 601, 8), (480, 320), (30, 20)),
        ("b 2+(h w) c", (1, 1214, 8), (128, 1024), (12, 101)),  # patches of 16 that overlap by 6
        ("b (h w) c", (1, 1, 8), (224, 100), (1, 1)),
        ("b (h w) c", (1, 12, 8), (100, 130), (3, 4)),
        ("b (h w=6) c", (1, 12, 8), (100, 130), (2, 6)),  # who says a size is taken at his word
        ("(b h1 w1) (h2 w2) c", (64, 49, 8), (224, 224), (56, 56)),
        ("(b h1 w1) (h2=8 w2=8) c", (8, 64, 8), (64, 128), (16, 32)),
    ],
)
def test_an_open_grid_has_square_patches(
    text: str, shape: tuple[int, ...], size: tuple[int, ...], space: tuple[int, ...]
) -> None:
    assert bind(text, shape, IMAGE, size, 1).space == space


def test_patches_that_are_far_from_square_are_not_taken() -> None:
    with pytest.raises(LayoutError, match="no grid of square patches fits an input of h=80 w=100"):
        bind("b (h w) c", (1, 2, 8), IMAGE, (80, 100), 1)  # 1x2: of 80 x 50, 1.6 to 1


def test_time_ahead_of_space_need_not_be_cut_like_it() -> None:
    assert bind("b (t h w) c", (1, 2 * 3 * 5, 8), CLIP, (2, 9, 15), 1).space == (2, 3, 5)
    with pytest.raises(LayoutError, match=r"\(t=2 h=28 w=28\) or \(t=8 h=14 w=14\)\."):
        bind("b (t h w) c", (1, 8 * 14 * 14, 8), CLIP, (16, 224, 224), 1)


@pytest.mark.parametrize(
    ("text", "shape", "at", "message"),
    [
        ("b (h w) c", (2, 12, 3), 3, r"leaves h w open, and more than one grid fits an input of"
         r" h=32 w=32\.(.|\n)*as in \(h=3 w=4\) or \(h=4 w=3\)\."),
        ("b (h w) c", (2, 7, 3), 3, r"no grid of square patches fits(.|\n)*\(h=1 w=7\) or"),
        ("b (h1 h2) w c", (2, 16, 16, 3), 3, r"one grid(.|\n)*\(h1=8 h2=2\), and 1 more\."),
        ("(b h1 w1) (h2 w2) c", (8, 64, 3), 3, r"more than one .*h=32(.|\n)*\(h1=2 w1=2\) \(h2=8 "),
        ("b (c h) w", (2, 8, 3), 3, r"of \(2, 8, 3\), the size of 'c' is open(.|\n)*'c=\.\.\.'"),
        ("b heads h w", (2, 8, 3, 3), 2, r"'heads' is no axis of the input's space, h w\.(.|\n)*say"
         r" channels='c heads'"),
        ("b c hh w", (2, 8, 3, 3), 4, r"'hh' is no axis(.|\n)*Did you mean 'h'\?"),
        ("b C h w", (2, 8, 3, 3), 2, r"'C' is no axis(.|\n)*Did you mean 'c'\?"),
        ("b 1+(c h) w", (2, 8, 3), 5, r"tokens stand beside channels"),
    ],
)  # fmt: skip
def test_what_does_not_bind_is_shown_at_its_word(
    text: str, shape: tuple[int, ...], at: int, message: str
) -> None:
    place = rf"    {re.escape(text)}\n    {' ' * at}\^\n"
    with pytest.raises(LayoutError, match=message):
        bind(text, shape, IMAGE, (32, 32), 2)
    with pytest.raises(LayoutError, match=place):
        bind(text, shape, IMAGE, (32, 32), 2)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("b c h w", (2, 3, 4), r"'b c h w' names 4 axes, and the shape is \(2, 3, 4\)"),
        ("b c h w", (16, 3, 4, 4), r"axis 0 .* length 16, and b is 2\. 16 = 2 x 8: if frames"),
        ("(b h1) c h2 w", (7, 3, 4, 4), r"its length 7, which b = 2 does not divide evenly"),
        ("(b h1=2 w1=3) c h2 w2", (17, 3, 4, 4), r"17, and b x h1 x w1 is 2 x 2 x 3 = 12"),
        ("b 1+(h=3 w=3) c", (2, 12, 4), r"12 less 1 .* is 11, and h x w is 3 x 3 = 9"),
        ("b (h=5 w) c", (2, 12, 4), r"length 12, which h = 5 does not divide evenly"),
        ("b 10+(h w) c", (2, 10, 4), r"10 less 10 .* is 0, and nothing is left for space"),
        ("b 1 h w", (2, 3, 4, 4), r"axis 1 of .* is '1' .* length 3, and it is 1"),
        ("b c=4 h w", (2, 3, 4, 4), r"axis 1 .* length 3, and c is 4"),
        ("b=3 c h w", (3, 3, 4, 4), r"says b=3 for a batch of 2\. Leave the number away"),
        ("b c h w", (2, 0, 4, 4), r"length 0, and nothing is left"),
    ],
)
def test_sizes_that_do_not_agree_show_the_arithmetic(
    text: str, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(LayoutError, match=message):
        bind(text, shape, IMAGE, (32, 32), 2)


@pytest.mark.parametrize("channels", ["", "c c", "b", "c1", "c,f", "b c", 3])
def test_channels_are_words(channels: str) -> None:
    with pytest.raises(LayoutError, match="channels= is the words of layout= that are channels"):
        bind("b c h w", (2, 3, 4, 4), IMAGE, (32, 32), 2, channels=channels)


def test_a_told_layout_is_text_that_knows_who_read_it() -> None:
    told = ToldLayout("b c h=7 w=7", by="probe", passes=30)
    assert told == "b c h=7 w=7"
    assert told in {"b c h=7 w=7"}
    for one in (told, copy.deepcopy(told), pickle.loads(pickle.dumps(told))):
        assert (str(one), one.by, one.passes) == ("b c h=7 w=7", "probe", 30)
    assert ToldLayout("b t").by == "you"
    assert parse(told) == parse("b c h=7 w=7")
