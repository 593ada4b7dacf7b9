"""What else people make of pictures, series and clips, in a few lines each; axes by construction.

Held out while the probe was made, as `light_further` is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tests.support.light import Net
from tests.support.light_parts import Do, cnn, encoder, image, normal

_PICTURE = "b c h w"
_MAP = ["b - h w"]


def _before(change, channels: int = 3, rank: int = 2) -> nn.Module:
    """Convolutions behind something that is done to the input."""
    return Do(lambda s, *x: s.cnn(change(*x)), cnn=cnn(channels, rank))


def _own(name: str, change, truth: str = "b - h w", channels: int = 3, **options: object) -> Net:
    return Net(
        name, lambda: _before(change, channels), image(32, 48), _PICTURE, {"cnn": [truth]},
        **options,
    )  # fmt: skip


def _coordinates(x: Tensor) -> Tensor:
    rows, columns = (torch.linspace(-1, 1, n) for n in x.shape[2:])
    rows, columns = torch.meshgrid(rows, columns, indexing="ij")
    return torch.cat([x, rows.expand(len(x), 1, -1, -1), columns.expand(len(x), 1, -1, -1)], 1)


def _jigsaw(x: Tensor) -> Tensor:
    """Four quarters in another order."""
    top, bottom = x.chunk(2, 2)
    quarters = [*top.chunk(2, 3), *bottom.chunk(2, 3)]
    rows = [torch.cat([quarters[3], quarters[0]], 3), torch.cat([quarters[2], quarters[1]], 3)]
    return torch.cat(rows, 2)


def _patched(s: Do, x: Tensor) -> Tensor:
    """Patches cut by hand, a class token ahead."""
    patches = x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    tokens = s.embed(patches)
    tokens = torch.cat([s.token.expand(len(x), 1, -1), tokens], 1)
    return s.body(tokens)


class Patched(Do):
    """A vision transformer by hand."""

    def __init__(self) -> None:
        super().__init__(_patched, embed=nn.Linear(192, 16), body=encoder(16))
        self.token = nn.Parameter(torch.randn(1, 1, 16))


def _pruned(s: Do, x: Tensor) -> Tensor:
    """The loudest half of the tokens, in the order of their loudness."""
    x = s.patch(x).flatten(2).mT
    kept = x.square().sum(-1).topk(x.shape[1] // 2, 1).indices
    return s.body(x.gather(1, kept[..., None].expand(-1, -1, x.shape[2])))


def _reader(s: Do, x: Tensor) -> Tensor:
    """Text in a picture: columns as a sequence."""
    return s.rnn(s.cnn(x).mean(2).mT)[0]


def _columns(s: Do, x: Tensor) -> Tensor:
    return s.rnn(s.cnn(x).permute(3, 0, 1, 2).flatten(2))[0]


def _each_frame(s: Do, x: Tensor) -> Tensor:
    return torch.stack([s.cnn(frame) for frame in x.unbind(1)]).mean(0)


def _each_state(s: Do, x: Tensor) -> Tensor:
    """A recurrent network of convolutions."""
    state = torch.zeros(len(x), 8, *x.shape[3:])
    for frame in x.unbind(1):
        state = s.cell(torch.cat([frame, state], 1)).tanh()
    return state


def _bag(s: Do, x: Tensor) -> Tensor:
    seen = s.cnn(x.flatten(0, 1)).mean((2, 3)).unflatten(0, x.shape[:2])
    return s.embed(seen)


def _slices(s: Do, x: Tensor) -> Tensor:
    return s.cnn(x.flatten(0, 1)[:, None]).unflatten(0, x.shape[:2]).mean((2, 3, 4))


def _two_streams(s: Do, clip: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    return s.frames(clip.flatten(0, 1)), s.flow(flow)


def _edges(s: Do, x: Tensor) -> Tensor:
    """Differences of each point to four that follow it."""
    near = torch.stack([x.roll(-n, 1) - x for n in range(1, 5)], 2)
    return s.cnn(near.permute(0, 3, 1, 2))


class Ring(nn.Module):
    """Points of which each knows its two neighbours."""

    def __init__(self, points: int) -> None:
        super().__init__()
        line = torch.eye(points) + torch.eye(points).roll(1, 0) + torch.eye(points).roll(-1, 0)
        self.register_buffer("near", line / 3)
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.near @ self.a(self.near @ x).relu())


def _latents(s: Do, x: Tensor) -> Tensor:
    tokens = s.patch(x).flatten(2).mT
    asked = s.queries.weight.expand(len(x), -1, -1)
    return s.attend(asked, tokens, tokens)[0]


def _electrodes() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, (1, 9), padding=(0, 4)), nn.Conv2d(8, 16, (22, 1), groups=8), nn.ELU(),
        nn.AvgPool2d((1, 4)),
    )  # fmt: skip


def _down_1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(12, 16, 15, 4, 7), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(16, 24, 7, 2, 3), nn.ReLU(),
    )  # fmt: skip


KINDS = [
    _own("a picture's mean taken off", lambda x: (x - x.mean((1, 2, 3), keepdim=True)) / 2),
    _own("grey", lambda x: x.mean(1, keepdim=True), channels=1),
    _own("coordinates beside colours", _coordinates, channels=5),
    _own("pixels unshuffled", lambda x: F.pixel_unshuffle(x, 4), channels=48),
    _own("transposed", lambda x: x.mT, "b - w h"),
    _own("turned by a quarter", lambda x: x.rot90(1, (2, 3)), "b - w h",
         spans={"cnn": ((0, 1), (1, 0))}),
    _own("upside down", lambda x: x.flip(2), spans={"cnn": ((1, 0), (0, 1))}),
    _own("turned by half", lambda x: x.flip((2, 3)), spans={"cnn": ((1, 0), (1, 0))}),
    _own("cropped at the left", lambda x: x[..., :32], spans={"cnn": ((0, 1), (0, 2 / 3))}),
    _own("cropped and enlarged", lambda x: F.interpolate(x[:, :, 8:24, 16:40], (32, 48)),
         spans={"cnn": ((1 / 4, 3 / 4), (1 / 3, 5 / 6))}),
    _own("made smaller", lambda x: F.interpolate(x, scale_factor=0.5, mode="area")),
    _own("rolled", lambda x: x.roll(16, 3), "b - h ?"),
    _own("in other quarters", _jigsaw, "b - ? ?"),
    _own("with its mirror beside it", lambda x: torch.cat([x, x.flip(3)], 3), "b - h ?"),
    _own("left and right in one batch", lambda x: torch.cat(x.chunk(2, 3)), "(w1=2 b) - h w2=6"),
    _own("mirrored in the same batch", lambda x: torch.cat([x, x.flip(3)]), "? - h ?"),
    _own("frequencies of a picture", lambda x: torch.fft.fft2(x).abs().log1p(), "b - - -"),
    _own("with noise", lambda x: x + torch.randn(x.shape) * 0.05),
    Net("transformer by hand", Patched, image(32, 48), _PICTURE,
        {"embed": ["b (h=4 w=6) -"], "body.layers.0": ["b 1+(h=4 w=6) -"],
         "body": ["b 1+(h=4 w=6) -"]}),
    Net("tokens from the end", lambda: Do(
        lambda s, x: s.body(s.patch(x).flatten(2).mT.flip(1)), patch=nn.Conv2d(3, 16, 8, 8),
        body=encoder(16)),
        image(32, 48), _PICTURE, {"body": ["b (h=4 w=6) -"]}, spans={"body": ((1, 0), (1, 0))}),
    Net("tokens merged in pairs", lambda: Do(
        lambda s, x: s.body(s.patch(x).flatten(2).mT.unflatten(1, (-1, 2)).mean(2)),
        patch=nn.Conv2d(3, 16, 8, 8), body=encoder(16)),
        image(64, 96), _PICTURE, {"body": ["b (h=8 w=6) -"]}),
    Net("tokens pruned", lambda: Do(_pruned, patch=nn.Conv2d(3, 16, 8, 8), body=encoder(16)),
        image(64, 96), _PICTURE, {"body": ["b ? -"]}),
    Net("latents", lambda: Do(
        _latents, patch=nn.Conv2d(3, 16, 8, 8), queries=nn.Embedding(9, 16),
        attend=nn.MultiheadAttention(16, 2, batch_first=True), end=nn.Linear(16, 16)),
        image(32, 48), _PICTURE, {"attend": ["b - -"]}),
    Net("text in a picture", lambda: Do(_reader, cnn=cnn(), rnn=nn.LSTM(24, 12, batch_first=True)),
        image(32, 96), _PICTURE, {"cnn": _MAP, "rnn": ["b w -"]}),
    Net("columns as a sequence", lambda: Do(_columns, cnn=cnn(), rnn=nn.LSTM(192, 12)),
        image(32, 96), _PICTURE, {"rnn": ["w b -"]}),
    Net("frame for frame", lambda: Do(_each_frame, cnn=cnn()), normal((2, 4, 3, 32, 48)),
        "b t c h w", {"cnn": ["b - h w"] * 4},
        spans={f"cnn#{n}": ((n / 4, (n + 1) / 4), (0, 1), (0, 1)) for n in range(4)}),
    Net("state for state", lambda: Do(_each_state, cell=nn.Conv2d(11, 8, 3, 1, 1)),
        normal((2, 3, 3, 32, 48)), "b t c h w", {"cell": ["b - h w"] * 3},
        spans={f"cell#{n}": ((0, (n + 1) / 3), (0, 1), (0, 1)) for n in range(2)}),
    Net("a bag of pictures", lambda: Do(_bag, cnn=cnn(), embed=nn.Linear(24, 16)),
        normal((2, 7, 3, 32, 48)), "b n c h w",
        {"cnn": ["(b n=7) - h w"], "embed": ["b n -"]}),
    Net("slices of a volume", lambda: Do(_slices, cnn=cnn(1)), normal((2, 10, 32, 48)),
        "b d h w", {"cnn": ["(b d=10) - h w"]}),
    Net("a clip, time behind colours", lambda: Do(
        lambda s, x: s.cnn(x.transpose(1, 2)), cnn=cnn(3, 3)), normal((2, 8, 3, 32, 48)),
        "b t c h w", {"cnn.0": ["b - t h w"], "cnn": ["b - t h w"]}),
    Net("a clip and its flow", lambda: Do(_two_streams, frames=cnn(), flow=cnn(8)),
        normal((2, 4, 3, 32, 48), (2, 8, 32, 48)), "b t c h w, B C H W",
        {"frames": ["(b t=4) - h w"], "flow": ["B - H W"]}),
    Net("colour and depth", lambda: _before(lambda a, b: torch.cat([a, b], 1), 4),
        normal((2, 3, 32, 48), (2, 1, 32, 48)), "b c h w, B C H W", {"cnn": ["b|B - h|H w|W"]}),
    Net("before and after", lambda: _before(lambda a, b: a - b), normal(*[(2, 3, 32, 48)] * 2),
        "b c h w, B C H W", {"cnn": ["b|B - h|H w|W"]}),
    Net("points, channels first", lambda: nn.Sequential(nn.Conv1d(3, 16, 1), nn.ReLU(),
        nn.Conv1d(16, 24, 1)), normal((2, 3, 80)), "b c n", {"0": ["b - n"], "2": ["b - n"]}),
    Net("edges between points", lambda: Do(_edges, cnn=nn.Conv2d(3, 16, 1)), normal((2, 60, 3)),
        "b n c", {"cnn": ["b - n -"]}),
    Net("a ring of points", lambda: Ring(40), normal((2, 40, 6)), "b n c",
        {"a": ["b n -"], "b": ["b n -"]}),
    Net("electrodes", _electrodes, normal((2, 1, 22, 96)), "b c e t",
        {"0": ["b - e t"], "1": ["b - - t"], "3": ["b - - t"]}),
    Net("twelve leads", _down_1d, normal((2, 12, 512)), "b c t", {"0": ["b - t"], "5": ["b - t"]}),
    Net("samples", lambda: nn.Sequential(nn.Conv1d(1, 16, 21, 10, 10), nn.ReLU(), cnn(16, 1)),
        normal((2, 1, 1600)), "b c t", {"0": ["b - t"], "2": ["b - t"]}),
    Net("measurements, recurrent both ways", lambda: Do(
        lambda s, x: s.rnn(x)[0], rnn=nn.GRU(7, 9, 2, batch_first=True, bidirectional=True)),
        normal((2, 48, 7)), "b t c", {"rnn": ["b t -"]}),
    Net("as many measurements as times", lambda: Do(
        lambda s, x: s.rnn(x)[0], rnn=nn.GRU(24, 24, batch_first=True)),
        normal((2, 24, 24)), "b t c", {"rnn": ["b t -"]}),
    Net("times as many as channels, first", lambda: cnn(32, 1), normal((2, 32, 32)), "b c t",
        {"0": ["b - t"]}),
    Net("a deep volume", lambda: nn.Sequential(cnn(1, 3), nn.MaxPool3d(2), nn.Conv3d(24, 8, 1)),
        normal((2, 1, 32, 48, 40)), "b c d h w", {"0": ["b - d h w"], "2": ["b - d h w"]}),
]  # fmt: skip
