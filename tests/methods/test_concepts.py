"""Deep Feature Factorization: by hand, in loops, beside scikit-learn, and the concepts' classes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from pytorch_grad_cam import DeepFeatureFactorization
from sklearn.decomposition import NMF
from sklearn.decomposition._nmf import _initialize_nmf
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.methods.concepts import factorize, start
from tests.support.nets import gap_linear, images
from tests.support.ranks import RANKS, SIZES, batch, curved
from tests.support.traces import Disturbing, snapshot


def test_by_hand() -> None:
    # Two features that never meet, the second in two places: each is a concept of its own. The
    # first explains |(0, 3)| |(1, 0.5)| = 3.35, the second |(2, 0)| |(1, 0.5)| = 2.24.
    activation = torch.tensor([[[[1.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 1.5]]]])
    maps, vectors = factorize(activation, 2)
    assert torch.allclose(vectors, torch.tensor([[0.0, 3.0], [2.0, 0.0]]), atol=1e-4)
    expected = torch.tensor([[[[0.0, 1.0], [0.0, 0.5]], [[0.5, 0.0], [1.0, 0.0]]]])
    assert torch.allclose(maps, expected, atol=1e-4)


def features(rank: int, concepts: int = 3) -> Tensor:
    """Activations after a ReLU, nearly of that many concepts."""
    generator = torch.Generator().manual_seed(rank)
    space = SIZES[rank]
    maps = torch.rand(2, concepts, *space, generator=generator, dtype=torch.float64) ** 4
    vectors = torch.rand(concepts, 7, generator=generator, dtype=torch.float64) ** 4
    noise = torch.rand(2, 7, *space, generator=generator, dtype=torch.float64)
    made = torch.einsum("bc...,ck->bk...", maps, vectors) + 0.02 * noise
    return made / made.max()


def rows_of(activation: Tensor) -> Tensor:
    return activation.flatten(2).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize("rank", RANKS)
def test_equals_the_multiplicative_update_in_loops(rank: int) -> None:
    rows = rows_of(features(rank)).numpy()[:20]
    rows /= rows.max()
    amounts, vectors = (one.numpy() for one in start(torch.from_numpy(rows), 2))
    for _ in range(3):  # Lee and Seung 2001, theorem 1, an entry at a time
        told = vectors.copy()
        new = amounts.copy()
        for p, c in product(range(len(rows)), range(2)):
            above = sum(rows[p, k] * told[c, k] for k in range(7))
            below = sum(amounts[p, d] * told[d, k] * told[c, k] for d in range(2) for k in range(7))
            new[p, c] = amounts[p, c] * above / below
        amounts = new
        for c, k in product(range(2), range(7)):
            above = sum(amounts[p, c] * rows[p, k] for p in range(len(rows)))
            below = sum(
                amounts[p, c] * amounts[p, d] * told[d, k]
                for p in range(len(rows))
                for d in range(2)
            )
            vectors[c, k] = told[c, k] * above / below
    activation = torch.from_numpy(rows).T[None]
    maps, found = factorize(activation, 2, steps=3)
    peak = amounts.max(0)
    order = np.argsort(-np.linalg.norm(amounts, axis=0) * np.linalg.norm(vectors, axis=1))
    assert np.allclose(found.numpy(), (vectors * peak[:, None])[order], atol=1e-8)
    assert np.allclose(maps[0].numpy(), (amounts / peak).T[order], atol=1e-8)


@pytest.mark.parametrize("rank", RANKS)
def test_equals_scikit_learn_from_the_same_start_and_is_as_good_as_its_best(rank: int) -> None:
    activation = features(rank)
    rows = rows_of(activation)
    maps, vectors = factorize(activation, 3)
    made = torch.einsum("bc...,ck->bk...", maps, vectors)

    model = NMF(3, init="custom", solver="mu", max_iter=200, tol=0)
    amounts, basis = (one.numpy() for one in start(rows, 3))
    theirs = model.fit_transform(rows.numpy(), W=amounts.copy(), H=basis.copy()) @ model.components_
    assert np.allclose(rows_of(made).numpy(), theirs, atol=1e-6)

    best = NMF(3, init="nndsvda", max_iter=5000, tol=1e-4).fit(rows.numpy()).reconstruction_err_
    ours = float((made - activation).norm())
    assert ours < 0.05 * float(activation.norm())
    nndsvd = _initialize_nmf(rows.numpy(), 3, init="nndsvda", eps=0)
    for mine, other in zip((amounts, basis), nndsvd, strict=True):
        assert np.allclose(mine, other, atol=1e-5 * other.max())
    assert ours <= 1.05 * best


def test_factors_of_any_size_are_finite_and_ordered_and_end_at_one() -> None:
    for scale in (1e-30, 1.0, 1e15):
        maps, vectors = factorize(features(2).float() * scale, 4)
        assert maps.isfinite().all()
        assert torch.allclose(maps.amax((0, 2, 3)), torch.ones(4))
        weight = maps.transpose(0, 1).flatten(1).norm(dim=1) * vectors.norm(dim=1) / scale
        assert (weight.diff() <= 1e-5).all()
    maps, vectors = factorize(-features(2), 2)  # after a ReLU nothing is left
    assert not maps.any()
    assert not vectors.any()


# --- as an explainer


def test_concepts_stand_where_targets_do_and_the_network_tells_their_class() -> None:
    model, x = gap_linear(), images()
    with gh.DFF(model, "1", concepts=3) as dff:
        result = dff(x)
        again = dff(x)
        one = dff(x, target=1)
        each = dff(x, target=[1, 4])
        difference = dff(x, target=gh.Difference(2, 0))
    maps, vectors = factorize(model[:2](x).detach(), 3)
    assert torch.equal(result.raw, maps)
    assert torch.equal(result.raw, again.raw)
    assert result.maps.shape == (2, 3, 8, 8)
    # A map that holds the vector everywhere has it for its mean.
    logits = (vectors @ model[4].weight.T + model[4].bias).detach()
    assert result.target.tolist() == [logits.argmax(1).tolist()] * 2
    assert torch.allclose(result.scores, logits.amax(1).expand(2, 3), atol=1e-10)
    assert one.target.tolist() == [[1] * 3] * 2
    assert torch.allclose(one.scores, logits[:, 1].expand(2, 3), atol=1e-10)
    assert torch.allclose(each.scores, logits[:, [1, 4]].T, atol=1e-10)
    assert difference.target is None
    assert torch.allclose(difference.scores[1], logits[:, 2] - logits[:, 0], atol=1e-10)
    assert result.diagnosis == (("ok",) * 3,) * 2
    assert result.overlay(caption=True).size[0] > 3 * 8


@pytest.mark.parametrize("rank", RANKS)
def test_in_every_rank_behind_any_tail(rank: int) -> None:
    net, x = curved(rank), batch(rank)
    result = gh.DFF(net, "1", concepts=2)(x)
    maps, vectors = factorize(net[:2](x).detach(), 2)
    assert torch.equal(result.raw, maps)
    for concept in range(2):
        spread = vectors[concept].view(1, 3, *[1] * rank).expand(1, 3, *SIZES[rank])
        logits = net[2:](spread)[0]
        assert int(result.target[0, concept]) == int(logits.argmax())
        assert result.scores[1, concept].item() == pytest.approx(logits.max().item(), abs=1e-9)


def test_chance_comes_from_the_generator() -> None:
    model, x = gap_linear(), images()
    other = torch.Generator().manual_seed(5)
    state = other.get_state()
    first = gh.DFF(model, "1", steps=3)(x)
    second = gh.DFF(model, "1", steps=3, generator=other)(x)
    assert not torch.equal(other.get_state(), state)
    assert torch.allclose(first.raw, second.raw, atol=1e-2)  # and hardly matters
    assert torch.equal(gh.DFF(model, "1", steps=3)(x).raw, first.raw)


@pytest.mark.parametrize(
    ("options", "target", "error", "told"),
    [
        ({"concepts": 0}, None, gh.OptionError, "concepts= is a whole number from 1 up, not 0"),
        ({"concepts": 7}, None, gh.OptionError, r"concepts=7 is more than the 6 that \(2, 6, 8, 8"),
        ({"steps": 1.5}, None, gh.OptionError, "steps= is a whole number from 1 up, not 1.5"),
        ({}, gh.TopK(2), gh.TargetError, "maps of Deep Feature Factorization are of concepts"),
    ],
    ids=["none", "too-many", "steps", "targets"],
)
def test_what_cannot_be_asked(
    options: dict[str, object], target: object, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        gh.DFF(gap_linear(), "1", **options)(images(), target=target)
    with pytest.raises(gh.LayerError, match=r"of one layer, and 0, 1 are 2\. Name one"):
        gh.DFF(gap_linear(), ["0", "1"])(images())


def test_beside_grad_cam() -> None:
    # Where every channel is 0 somewhere and the concepts are apart, both find the same maps.
    model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    torch.manual_seed(0)
    nn.init.normal_(model[3].weight)
    x = torch.zeros(1, 4, 6, 8)
    x[:, :2, :3], x[:, 2:, 4:, 2:] = torch.rand(1, 1, 3, 8) + 0.5, 2 * torch.rand(1, 1, 2, 6) + 1
    peer = DeepFeatureFactorization(model, model[0], computation_on_concepts=model[3])
    concepts, (maps,), outputs = peer(x, 2)
    ours = gh.DFF(model, "0", concepts=2)(x)
    order = [int(np.argmax(concepts[2])), int(np.argmax(concepts[0]))]
    for mine, theirs in enumerate(order):
        assert np.allclose(ours.maps[0, mine].numpy(), maps[theirs], atol=2e-2)
    assert ours.target[0].tolist() == outputs[order].argmax(1).tolist()
    # A channel that is nowhere 0 loses its ground there, and keeps it here.
    maps, vectors = factorize(x + 1, 2)
    made = torch.einsum("bc...,ck->bk...", maps, vectors)
    assert ((made - x - 1).norm() / (x + 1).norm()) < 0.1
    concepts, *_ = peer(x + 1, 2)
    assert concepts.min() >= 1


def test_nothing_is_left_when_the_model_raises() -> None:
    net = Disturbing()
    before = snapshot(net)
    gh.DFF(net, "body.conv2", concepts=2)(images())
    assert snapshot(net) == before
    net.raising.error = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        gh.DFF(net, "body.conv2", concepts=2)(images())
    net.raising.error = None
    assert snapshot(net) == before
