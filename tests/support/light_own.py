"""Networks of a few lines whose layers' axes are known: every order that the probe is to read."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tests.support.light import Net
from tests.support.light_parts import Do, cnn, encoder, image, normal


class Tokens(nn.Module):
    """Patches as tokens in any order, with others ahead and behind, and a transformer."""

    def __init__(
        self, ahead: int = 0, behind: int = 0, *, columns: bool = False, channels: int = 3
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(channels, 16, 8, 8)
        self.ahead = nn.Parameter(torch.randn(1, ahead, 16))
        self.behind = nn.Parameter(torch.randn(1, behind, 16))
        self.body = encoder(16)
        self.columns = columns

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x)
        x = (x.mT if self.columns else x).flatten(2).mT
        ahead, behind = (extra.expand(len(x), -1, -1) for extra in (self.ahead, self.behind))
        return self.body(torch.cat([ahead, x, behind], 1))


class Series(nn.Module):
    """A transformer over time, with tokens ahead and behind."""

    def __init__(self, ahead: int = 0, behind: int = 0) -> None:
        super().__init__()
        self.embed, self.body = nn.Linear(5, 16), encoder(16)
        self.ahead = nn.Parameter(torch.randn(1, ahead, 16))
        self.behind = nn.Parameter(torch.randn(1, behind, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        ahead, behind = (extra.expand(len(x), -1, -1) for extra in (self.ahead, self.behind))
        return self.body(torch.cat([ahead, x, behind], 1))


class Columns(nn.Module):
    """Tokens ``(batch, w, h, c)``, rearranged by hand, then a linear layer."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.cnn, self.order, self.last = cnn(), order, nn.LazyLinear(16)
        with torch.no_grad():
            self(torch.randn(2, 3, 32, 48))

    def forward(self, x: Tensor) -> Tensor:
        x = self.cnn(x)
        return self.last(x.permute(*("bchw".index(letter) for letter in self.order)))


def _heads(s: Do, x: Tensor) -> Tensor:
    batch, tokens, _ = (x := s.patch(x).flatten(2).mT).shape
    return s.head(x.reshape(batch, tokens, 4, 4).transpose(1, 2).flatten(0, 1))


def _frame_tokens(s: Do, x: Tensor) -> Tensor:
    batch = len(x)
    x = s.patch(x.flatten(0, 1)).flatten(2).mT
    s.inner(x)
    return s.outer(x.reshape(batch, -1, x.shape[-1]))


def _time_inner(s: Do, x: Tensor) -> Tensor:
    """Frames as the innermost factor: ``b (h w t) c``, and attention over time, ``(b h w) t c``."""
    batch, frames = x.shape[:2]
    x = s.patch(x.flatten(0, 1)).flatten(2).mT.unflatten(0, (batch, frames))
    x = x.permute(0, 2, 1, 3)
    s.time(x.flatten(0, 1))
    return s.all(x.flatten(1, 2))


def _classed_middle(s: Do, x: Tensor) -> Tensor:
    x = s.patch(x).flatten(2).mT
    half = x.shape[1] // 2
    return s.body(torch.cat([x[:, :half], s.token.expand(len(x), 1, 16), x[:, half:]], 1))


class Middle(Do):
    """A class token in the middle of the patches, as state space models have it."""

    def __init__(self) -> None:
        super().__init__(_classed_middle, patch=nn.Conv2d(3, 16, 8, 8), body=encoder(16))
        self.token = nn.Parameter(torch.randn(1, 1, 16))


def _search(s: Do, template: Tensor, search: Tensor) -> Tensor:
    tokens = [s.patch(x).flatten(2).mT for x in (template, search)]
    return s.body(torch.cat(tokens, 1))


def _crossed(s: Do, x: Tensor, y: Tensor) -> Tensor:
    """Every place of the one series with every place of the other."""
    return s.cnn(s.a(x).unsqueeze(3) * s.b(y).unsqueeze(2))


def _linear(width: int) -> nn.Linear:
    return nn.Linear(width, 16)


OWN = [
    Net("patches in rows", Tokens, image(32, 48), "b c h w", {"body": ["b (h=4 w=6) -"]}),
    Net(
        "patches in columns", lambda: Tokens(columns=True), image(32, 48), "b c h w",
        {"body": ["b (w=6 h=4) -"], "body.layers.0.linear1": ["b (w=6 h=4) -"]},
    ),
    Net(
        "class token and columns", lambda: Tokens(1, columns=True), image(32, 48), "b c h w",
        {"body.layers.0": ["b 1+(w=6 h=4) -"]},
    ),
    Net(
        "registers behind", lambda: Tokens(0, 4), image(32, 48), "b c h w",
        {"body.layers.0": ["b (h=4 w=6)+4 -"], "body": ["b (h=4 w=6)+4 -"]},
    ),
    Net(
        "class ahead and registers behind", lambda: Tokens(1, 4), image(32, 48), "b c h w",
        {"body.layers.0": ["b 1+(h=4 w=6)+4 -"], "body": ["b 1+(h=4 w=6)+4 -"]},
    ),
    Net("six ahead", lambda: Tokens(6), image(48, 48), "b c h w", {"body": ["b 6+(h=6 w=6) -"]}),
    Net(
        "prompts of ten", lambda: Tokens(11), image(48, 48), "b c h w",
        {"body": ["b 11+(h=6 w=6) -"]},
    ),
    Net("class token behind", lambda: Tokens(0, 1), image(48, 48), "b c h w",
        {"body": ["b (h=6 w=6)+1 -"]}),
    Net("token in the middle", Middle, image(32, 48), "b c h w", {"body": ["b ? -"]}),
    Net("series", Series, normal((2, 40, 5)), "b t c", {"body": ["b t -"]}),
    Net("series with a class token", lambda: Series(1), normal((2, 40, 5)), "b t c",
        {"body.layers.0": ["b 1+t -"], "body": ["b 1+t -"]}),
    Net("series with a token behind", lambda: Series(0, 1), normal((2, 40, 5)), "b t c",
        {"body.layers.0": ["b t+1 -"], "body": ["b t+1 -"]}),
    Net("series with four ahead", lambda: Series(4), normal((2, 60, 5)), "b t c",
        {"body": ["b 4+t -"]}),
    Net("long series with a class token", lambda: Series(1), normal((2, 200, 5)), "b t c",
        {"body": ["b 1+t -"]}),
    Net("columns outer", lambda: Columns("bwhc"), image(32, 48), "b c h w", {"last": ["b w h -"]}),
    Net("rows outermost", lambda: Columns("hwbc"), image(32, 48), "b c h w", {"last": ["h w b -"]}),
    Net("rows beside the batch", lambda: Columns("hbwc"), image(32, 48), "b c h w",
        {"last": ["h b w -"]}),
    Net(
        "sequence first",
        lambda: Do(
            lambda s, x: s.last(s.patch(x).flatten(2).permute(2, 0, 1)),
            patch=nn.Conv2d(3, 16, 8, 8), last=_linear(16),
        ),
        image(32, 48), "b c h w", {"last": ["(h=4 w=6) b -"]},
    ),
    Net(
        "tokens behind channels",
        lambda: Do(lambda s, x: s.last(s.patch(x).flatten(2)), patch=nn.Conv2d(3, 16, 8, 8),
                   last=nn.Conv1d(16, 16, 1)),
        image(32, 48), "b c h w", {"last": ["b - (h=4 w=6)"]},
    ),
    Net(
        "heads in the batch",
        lambda: Do(_heads, patch=nn.Conv2d(3, 16, 8, 8), head=nn.Linear(4, 4)),
        image(32, 48), "b c h w", {"head": ["(b -=4) (h=4 w=6) -"]},
    ),
    Net(
        "tokens of frames",
        lambda: Do(_frame_tokens, patch=nn.Conv2d(3, 16, 8, 8), inner=_linear(16),
                   outer=_linear(16)),
        normal((2, 5, 3, 32, 48)), "b t c h w",
        {"inner": ["(b t=5) (h=4 w=6) -"], "outer": ["b (t=5 h=4 w=6) -"]},
    ),
    Net(
        "time innermost",
        lambda: Do(_time_inner, patch=nn.Conv2d(3, 16, 8, 8), time=_linear(16), all=_linear(16)),
        normal((2, 5, 3, 32, 48)), "b t c h w",
        {"time": ["(b h=4 w=6) t -"], "all": ["b (h=4 w=6 t=5) -"]},
    ),
    Net(
        "a plane for each colour",
        lambda: nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, groups=3), nn.ReLU(), nn.Conv2d(12, 8, 3)),
        image(32, 48), "b c h w", {"0": ["b (c=3 -=4) h w"], "2": ["b - h w"]},
    ),
    Net(
        "flipped", lambda: Do(lambda s, x: s.cnn(x.flip(3)), cnn=cnn()), image(32, 48), "b c h w",
        {"cnn": ["b - h w"]}, spans={"cnn": ((0, 1), (1, 0))},
    ),
    Net(
        "resized",
        lambda: Do(lambda s, x: s.cnn(F.interpolate(x, (32, 40))), cnn=cnn()), image(50, 70),
        "b c h w", {"cnn": ["b - h w"]},
    ),
    Net(
        "letterboxed",
        lambda: Do(lambda s, x: s.cnn(F.pad(x, (0, 0, 16, 16))), cnn=cnn()), image(32, 64),
        "b c h w", {"cnn": ["b - h w"]}, spans={"cnn": ((-0.5, 1.5), (0, 1))},
    ),
    Net(
        "larger than the picture",
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ConvTranspose2d(8, 4, 2, 2)),
        image(24, 32), "b c h w", {"1": ["b - h w"]},
    ),
    Net(
        "template and search in one",
        lambda: Do(_search, patch=nn.Conv2d(3, 16, 8, 8), body=encoder(16)),
        normal((2, 3, 16, 16), (2, 3, 32, 48)), "b c h w, B C H W", {"body": ["b|B 4+(H=4 W=6) -"]},
    ),
    Net(
        "two series crossed",
        lambda: Do(_crossed, a=nn.Conv1d(4, 8, 3, 1, 1), b=nn.Conv1d(4, 8, 3, 1, 1),
                   cnn=nn.Conv2d(8, 8, 3, 1, 1)),
        normal((2, 4, 20), (2, 4, 30)), "b c t, B C T", {"cnn": ["b|B - t T"]},
    ),
    Net(
        "points with a transformer",
        lambda: Do(lambda s, x: s.body(s.embed(x)), embed=_linear(3), body=encoder(16)),
        normal((2, 50, 3)), "b n c", {"body.layers.0": ["b n -"], "body": ["b n -"]},
    ),
    Net(
        "neighbours of points",
        lambda: Do(
            lambda s, x: s.cnn(torch.stack([x, x.roll(1, 1), x.roll(2, 1)], 2).permute(0, 3, 2, 1)),
            cnn=nn.Conv2d(3, 16, 1),
        ),
        normal((2, 50, 3)), "b n c", {"cnn": ["b - - n"]},
    ),
    Net(
        "spectrogram", lambda: Do(lambda s, x: s.cnn(x.unsqueeze(1)), cnn=cnn(1)),
        normal((2, 40, 64)), "b f t", {"cnn.0": ["b - f t"], "cnn": ["b - f t"]},
    ),
    Net(
        "spectrogram turned", lambda: Do(lambda s, x: s.cnn(x.unsqueeze(1).mT), cnn=cnn(1)),
        normal((2, 40, 64)), "b f t", {"cnn": ["b - t f"]},
    ),
    Net(
        "temporal convolutions",
        lambda: nn.Sequential(*(nn.Conv1d(4 if i == 0 else 12, 12, 3, 1, 2**i, 2**i)
                                for i in range(4))),
        normal((2, 4, 64)), "b c t", {"0": ["b - t"], "3": ["b - t"]},
    ),
    Net(
        "characters",
        lambda: Do(lambda s, x: s.cnn(s.embed(x).mT), embed=nn.Embedding(40, 8), cnn=cnn(8, 1)),
        lambda: [torch.randint(0, 40, (2, 64))], "b t", {"embed": ["b t -"], "cnn": ["b - t"]},
    ),
    Net(
        "one picture", lambda: cnn(), normal((1, 3, 32, 48)), "b c h w",
        {"0": ["- - h w"], "5": ["- - h w"]},
    ),
    Net(
        "four pictures and four channels", lambda: cnn(4, 2, 4), normal((4, 4, 32, 48)), "b c h w",
        {"0": ["b - h w"], "5": ["b - h w"]},
    ),
    Net(
        "logits", lambda: nn.Sequential(cnn(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                        nn.Linear(24, 3)),
        image(32, 48), "b c h w", {"1": ["b - - -"], "3": ["b -"]},
    ),
    Net(
        "flattened, channels last",
        lambda: Do(lambda s, x: s.flat(s.cnn(x).permute(0, 2, 3, 1)), cnn=cnn(), flat=nn.Flatten()),
        image(32, 48), "b c h w", {"flat": ["b (h=8 w=12 -=24)"]},
    ),
    Net(
        "voxels, channels last", lambda: Do(lambda s, x: s.cnn(x.permute(0, 4, 1, 2, 3)),
                                            cnn=cnn(2, 3)),
        normal((2, 16, 24, 20, 2)), "b d h w c", {"cnn": ["b - d h w"]},
    ),
    Net(
        "pictures and numbers",
        lambda: Do(lambda s, x, n: s.cnn(x) * s.n(n)[..., None, None], cnn=cnn(),
                   n=nn.Linear(7, 24)),
        normal((2, 3, 32, 48), (2, 7)), "b c h w, B N", {"cnn": ["b - h w"], "n": ["B -"]},
    ),
    Net(
        "decoder of a series",
        lambda: nn.Sequential(nn.Conv1d(4, 12, 4, 4), nn.ReLU(), nn.ConvTranspose1d(12, 6, 4, 4)),
        normal((2, 4, 64)), "b c t", {"0": ["b - t"], "2": ["b - t"]},
    ),
]  # fmt: skip
