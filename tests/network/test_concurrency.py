"""Explaining beside others: tasks of asyncio, several models, workers and processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import gradcam_hooks as gh
from tests.support.meanwhile import LONG, Net, cnn, same
from tests.support.nets import images

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked by POSIX alone")
FORKED = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
"""Python warns of it where there are threads, which is what is tried here."""


def test_tasks_that_explain_and_infer_one_model() -> None:
    net, x = cnn(), images(2, (16, 16))
    asked = [("conv2", "gradcam"), ("conv1", "layercam"), ("auto", "eigencam")]
    alone = [gh.explain(net, x, layer, method=method, target=1) for layer, method in asked]
    with torch.no_grad():
        plain = net(x)

    def infer() -> None:
        with torch.inference_mode():
            assert torch.equal(net(x), plain)

    async def explain(number: int) -> None:
        layer, method = asked[number % 3]
        work = asyncio.to_thread(gh.explain, net, x, layer, method=method, target=1)
        same(await work, alone[number % 3])

    async def every() -> None:
        tasks = [explain(number) for number in range(18)]
        await asyncio.gather(*tasks, *(asyncio.to_thread(infer) for _ in range(18)))

    asyncio.run(every())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in net.modules())


def test_several_models_each_in_threads() -> None:
    nets = [cnn().train() for _ in range(3)]
    for number, net in enumerate(nets):
        with torch.no_grad():
            net.fc.weight.mul_(number + 1)
    x = images(2, (16, 16))
    alone = [gh.explain(net, x, "conv2", target=1) for net in nets]
    assert not torch.equal(alone[0].scores, alone[1].scores)

    def explain(number: int) -> None:
        same(gh.explain(nets[number % 3], x, "conv2", target=1), alone[number % 3])

    with ThreadPoolExecutor(6) as pool:
        for one in [pool.submit(explain, number) for number in range(18)]:
            one.result(LONG)
    assert all(module.training for net in nets for module in net.modules())


class Explained(Dataset[Tensor]):
    """Each item is the map of a picture, made where the item is loaded."""

    def __init__(self, net: Net) -> None:
        self.net = net

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        torch.set_num_threads(1)  # as DataLoader's workers do; a forked pool of OpenMP's is none
        x = images(4, (16, 16))[index : index + 1]
        maps: Tensor = gh.explain(self.net, x, "conv2", target=1).maps
        assert not any(one._forward_hooks for one in self.net.modules())
        return maps


@FORKED
@forks
def test_a_data_set_that_explains_in_workers_while_the_block_is_open_outside() -> None:
    net, x = cnn(), images(4, (16, 16))
    alone = [gh.explain(net, x[i : i + 1], "conv2", target=1).maps for i in range(4)]
    loader = DataLoader(
        Explained(net), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    with gh.GradCAM(cnn(), "conv2") as cam:
        outside = [cam(x[i : i + 1], target=1).maps for i, _ in enumerate(loader)]
        inside = list(loader)
    for found in (outside, inside):
        for one, want in zip(found, alone, strict=True):
            assert torch.equal(one, want)


@FORKED
@forks
@pytest.mark.parametrize("opened", ["by another thread", "a block"])
def test_a_process_that_is_forked_while_the_model_is_explained(opened: str) -> None:
    net, x = cnn().train(), images(2, (16, 16))
    alone = gh.explain(net, x, "conv2", target=1)
    reader, writer = multiprocessing.get_context("fork").Pipe(duplex=False)
    forked, inside = threading.Event(), threading.Event()

    def child() -> None:
        torch.set_num_threads(1)
        told = [module.training for module in net.modules()]
        same(gh.explain(net, x, "conv2", target=1), alone)
        told += [module.training for module in net.modules()]
        writer.send((all(told), net.eval()(x).requires_grad))

    def fork() -> None:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        assert reader.poll(LONG)
        assert reader.recv() == (True, True)
        process.join(LONG)
        assert process.exitcode == 0

    def explain() -> None:
        def wait() -> None:
            inside.set()
            assert forked.wait(LONG)

        with net.late.doing(wait):
            same(gh.explain(net, x, "conv2", target=1), alone)

    if opened == "a block":
        with gh.GradCAM(net, "conv2") as cam:
            fork()
            same(cam(x, target=1), alone)
        return
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(explain)
        assert inside.wait(LONG)
        try:
            fork()
        finally:
            forked.set()
        running.result(LONG)
    assert all(module.training for module in net.modules())


def elsewhere(net: Net, x: Tensor) -> tuple[Tensor, bool]:
    result = gh.explain(net, x, "conv2", target=1)
    assert isinstance(result.raw, Tensor)
    return result.raw, any(one._forward_hooks for one in net.modules())


def test_a_process_that_is_spawned_with_the_model_while_a_block_is_open() -> None:
    net, x = cnn(), images(2, (16, 16))
    with (
        gh.GradCAM(net, "conv2") as cam,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        alone = cam(x, target=1)
        raw, hooks = pool.submit(elsewhere, net, x).result(LONG)
    torch.testing.assert_close(raw, alone.raw)
    assert hooks  # the copies of the open block's, at rest
