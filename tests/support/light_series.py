"""Networks on series, clips, points, words and several inputs, whose axes are known."""

from __future__ import annotations

import torch
import transformers
from torch import nn

from tests.support.light import Net
from tests.support.light_parts import Do, cnn, encoder, image, normal

_SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_labels": 5,
}
_CLIP = {"image_size": 48, "num_frames": 4, **_SMALL}


def _timesformer() -> nn.Module:
    config = transformers.TimesformerConfig(patch_size=16, **_CLIP)
    return transformers.TimesformerForVideoClassification(config)


def _videomae() -> nn.Module:
    config = transformers.VideoMAEConfig(patch_size=16, tubelet_size=2, **_CLIP)
    return transformers.VideoMAEForVideoClassification(config)


def _vivit() -> nn.Module:
    config = transformers.VivitConfig(tubelet_size=[2, 16, 16], **_CLIP)
    return transformers.VivitForVideoClassification(config)


def _ast() -> nn.Module:
    config = transformers.ASTConfig(
        patch_size=16, frequency_stride=10, time_stride=10, max_length=96, num_mel_bins=48, **_SMALL
    )
    return transformers.ASTForAudioClassification(config)


def _segformer() -> nn.Module:
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 1, 1, 2],
        num_labels=5,
    )
    return transformers.SegformerForImageClassification(config)


def _graph_inputs() -> list[torch.Tensor]:
    near = torch.softmax(4 * torch.randn(2, 20, 20) + 6 * torch.eye(20), -1)
    return [torch.randn(2, 20, 7), near]


def _per_frame(s: Do, x: torch.Tensor) -> torch.Tensor:
    return s.cnn(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _time_major(s: Do, x: torch.Tensor) -> torch.Tensor:
    frames = s.cnn(x.transpose(0, 1).flatten(0, 1)).mean((2, 3))
    return s.rnn(frames.unflatten(0, (x.shape[1], -1)))[0][-1]


def _stft(s: Do, x: torch.Tensor) -> torch.Tensor:
    bins = torch.stft(x, 32, 16, window=torch.hann_window(32), return_complex=True).abs()
    return s.cnn(bins[:, None])


SERIES = [
    Net(
        "timesformer", _timesformer, normal((2, 4, 3, 48, 48)), "b t c h w",
        {
            "timesformer.encoder.layer.0": ["b 1+(h=3 w=3 t=4) -"],
            "timesformer.encoder.layer.1": ["b 1+(h=3 w=3 t=4) -"],
            "timesformer.embeddings.patch_embeddings.projection": ["(b t=4) - h w"],
        },
    ),
    Net(
        "videomae", _videomae, normal((2, 4, 3, 48, 48)), "b t c h w",
        {"videomae.encoder.layer.1": ["b (t=2 h=3 w=3) -"]},
    ),
    Net(
        "vivit", _vivit, normal((2, 4, 3, 48, 48)), "b t c h w",
        {"vivit.layers.1": ["b 1+(t=2 h=3 w=3) -"]},
    ),
    Net(
        "spectrogram transformer", _ast, normal((2, 96, 48)), "b t f",
        {"audio_spectrogram_transformer.layers.1": ["b 2+(f=4 t=9) -"]},
    ),
    Net("segformer", _segformer, image(64, 96), "b c h w", {"segformer.stages.1": ["b - h w"]}),
    Net("cnn of a signal", lambda: cnn(2, 1), normal((2, 2, 96)), "b c t",
        {"0": ["b - t"], "5": ["b - t"]}),
    Net(
        "lstm",
        lambda: Do(lambda s, x: s.rnn(x)[0], rnn=nn.LSTM(11, 16, batch_first=True)),
        normal((2, 60, 11)), "b t c", {"rnn": ["b t -"]},
    ),
    Net(
        "lstm, time first",
        lambda: Do(
            lambda s, x: s.rnn(x.transpose(0, 1))[0],
            rnn=nn.LSTM(11, 16, num_layers=2, bidirectional=True),
        ),
        normal((2, 60, 11)), "b t c", {"rnn": ["t b -"]},
    ),
    Net(
        "convolutions of a series", lambda: Do(lambda s, x: s.cnn(x.mT), cnn=cnn(11, 1)),
        normal((2, 60, 11)), "b t c", {"cnn.0": ["b - t"], "cnn.5": ["b - t"]},
    ),
    Net(
        "transformer of a series",
        lambda: Do(lambda s, x: s.body(s.embed(x)), embed=nn.Linear(11, 16), body=encoder(16)),
        normal((2, 60, 11)), "b t c",
        {"body.layers.0": ["b t -"], "body.layers.1.linear1": ["b t -"]},
    ),
    Net(
        "pointnet",
        lambda: Do(
            lambda s, x: s.cnn(x.mT).amax(2),
            cnn=nn.Sequential(
                nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 32, 1)
            ),
        ),
        normal((2, 100, 3)), "b n c", {"cnn.0": ["b - n"], "cnn.3": ["b - n"]},
    ),
    Net(
        "graph",
        lambda: Do(
            lambda s, x, near: s.b(near @ s.a(near @ x).relu()),
            a=nn.Linear(7, 16), b=nn.Linear(16, 16),
        ),
        _graph_inputs, "b n c, B N M", {"a": ["b|B n|N -"], "b": ["b|B n|N -"]},
    ),
    Net(
        "channels last", lambda: Do(lambda s, x: s.cnn(x.permute(0, 3, 1, 2)), cnn=cnn(4)),
        normal((2, 64, 72, 4)), "b h w c", {"cnn.0": ["b - h w"], "cnn.5": ["b - h w"]},
    ),
    Net(
        "frame by frame",
        lambda: Do(
            lambda s, x: s.rnn(s.frames(x).mean((3, 4)))[0],
            frames=Do(_per_frame, cnn=cnn()), rnn=nn.GRU(24, 8, batch_first=True),
        ),
        normal((2, 5, 3, 32, 48)), "b t c h w",
        {"frames": ["b t - h w"], "frames.cnn.3": ["(b t=5) - h w"], "rnn": ["b t -"]},
    ),
    Net(
        "frames, time first", lambda: Do(_time_major, cnn=cnn(), rnn=nn.LSTM(24, 8)),
        normal((2, 5, 3, 32, 48)), "b t c h w", {"cnn": ["(t=5 b) - h w"], "rnn": ["t b -"]},
    ),
    Net(
        "views", lambda: Do(lambda s, x: s.cnn(x.flatten(0, 1)), cnn=cnn()),
        normal((2, 3, 3, 48, 48)), "b v c h w", {"cnn": ["(b v=3) - h w"]},
    ),
    Net(
        "template and search", lambda: Do(lambda s, a, b: (s.cnn(a), s.cnn(b)), cnn=cnn()),
        normal((2, 3, 16, 16), (2, 3, 48, 64)), "b c h w, B C H W",
        {"cnn": ["b - h w", "B - H W"]},
    ),
    Net(
        "pairs in one batch", lambda: Do(lambda s, a, b: s.cnn(torch.cat([a, b])), cnn=cnn()),
        normal((2, 3, 48, 48), (2, 3, 48, 48)), "b c h w, B C H W",
        {"cnn": ["(@=2 b|B) - h|H w|W"]},
    ),
    Net(
        "two sensors",
        lambda: Do(lambda s, d, r: (s.colour(r), s.depth(d)), colour=cnn(), depth=cnn(1)),
        normal((2, 1, 8, 8), (2, 3, 64, 96)), "b c h w, B C H W",
        {"colour": ["B - H W"], "depth": ["b - h w"]},
    ),
    Net(
        "electrodes as height", lambda: Do(lambda s, x: s.cnn(x[:, None]), cnn=cnn(1)),
        normal((2, 22, 80)), "b e t", {"cnn": ["b - e t"]},
    ),
    Net(
        "electrodes as channels", lambda: cnn(22, 1), normal((2, 22, 80)), "b e t",
        {"5": ["b - t"]},
    ),
    Net(
        "frames as depth", lambda: Do(lambda s, x: s.cnn(x[:, None]), cnn=cnn(1, 3)),
        normal((2, 12, 24, 24)), "b d h w", {"cnn": ["b - d h w"]},
    ),
    Net(
        "waveform", lambda: Do(_stft, cnn=cnn(1)), normal((2, 800)), "b t", {"cnn": ["b - - t"]}
    ),
    Net(
        "words",
        lambda: Do(lambda s, x: s.body(s.embed(x)), embed=nn.Embedding(50, 16), body=encoder(16)),
        lambda: [torch.randint(0, 50, (2, 24))], "b t", {"body.layers.1": ["b t -"]},
    ),
]  # fmt: skip
