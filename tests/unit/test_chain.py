"""Kernels in a chain: every sample goes once through all of them, whoever comes when."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
import weakref
from concurrent.futures import Future

import numpy as np
import pytest
import torch

import neurodeploy as nd
from neurodeploy.backends.simulator import chain as chain_module
from neurodeploy.backends.simulator.chain import Chain, Scratch

Callback = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
PLACES = [(1, 1), (2, 1), (1, 4), (3, 4), (64, 2), (257, 5)]  # samples, threads


class Kernels:
    """Kernels that note what they are called with: record, scratch, samples, thread."""

    def __init__(self, wait=lambda: None):
        self.called, self._wait = [], wait
        self._callback = Callback(self._call)
        self._address = ctypes.cast(self._callback, ctypes.c_void_p).value

    def _call(self, record, scratch, first, last):
        self._wait()
        self.called.append((record, scratch, range(first, last), threading.get_ident()))

    def call(self, record):
        return self._address, record

    def chain(self, records, samples):
        return Chain([self.call(record) for record in records], samples, Scratch(64))

    def of(self, record):
        """The samples that a record was called for, in order."""
        return sorted(i for at, _, samples, _ in self.called if at == record for i in samples)


@pytest.mark.parametrize(("samples", "threads"), PLACES)
def test_every_sample_goes_once_through_every_call_in_order(samples, threads):
    kernels = Kernels()
    chain = kernels.chain([11, 12], samples)
    chain.run(threads, first=kernels.call(10), last=kernels.call(13))
    for record in (10, 11, 12, 13):
        assert kernels.of(record) == list(range(samples))
    for part in {samples for _, _, samples, _ in kernels.called}:
        assert [at for at, _, own, _ in kernels.called if own == part] == [10, 11, 12, 13]


def test_first_and_last_calls_may_be_left_out():
    kernels = Kernels()
    chain = kernels.chain([11], 3)
    chain.run(1)
    assert [at for at, *_ in kernels.called] == [11]
    chain.run(1, last=kernels.call(13))
    assert [at for at, *_ in kernels.called] == [11, 11, 13]
    kernels.chain([], 3).run(2)
    assert len(kernels.called) == 3


def test_no_samples_are_no_calls():
    kernels = Kernels()
    kernels.chain([11], 0).run(2)
    assert kernels.called == []


def test_threads_meet_and_each_has_its_own_scratch():
    met = threading.Barrier(3, timeout=30)
    once = threading.local()

    def wait():
        if not hasattr(once, "there"):
            once.there = met.wait()  # breaks unless three threads are here at once

    kernels = Kernels(wait)
    kernels.chain([11], 60).run(3)
    assert len({thread for *_, thread in kernels.called}) == 3
    assert len({(scratch, thread) for _, scratch, _, thread in kernels.called}) == 3


@pytest.mark.parametrize("patience", [0, 1 << 40])
def test_what_another_thread_has_taken_is_waited_for(patience, monkeypatch):
    monkeypatch.setattr(chain_module, "_PATIENCE", patience)
    here, begun = threading.get_ident(), threading.Event()

    def wait():
        if threading.get_ident() == here:
            assert begun.wait(30)
        else:
            begun.set()
            time.sleep(0.05)

    kernels = Kernels(wait)
    kernels.chain([11], 20).run(2)
    assert kernels.of(11) == list(range(20))


def test_a_thread_that_comes_late_finds_its_run_done(monkeypatch):
    late = []

    def alongside(job, threads):
        job(0)
        late.append(job)
        return []

    monkeypatch.setattr(chain_module, "alongside", alongside)
    kernels = Kernels()
    chain = kernels.chain([11], 8)
    chain.run(2)
    chain.run(2)
    assert len(kernels.called) == 2 * len({samples for _, _, samples, _ in kernels.called})
    before = list(kernels.called)
    late[0](1)
    assert kernels.called == before


def test_what_calls_use_lives_until_every_thread_is_done(monkeypatch):
    jobs = []
    monkeypatch.setattr(
        chain_module, "alongside", lambda job, threads: jobs.append(job) or [done()]
    )

    def done():
        jobs[0](0)
        future = Future()
        future.set_result(None)
        return future

    class Memory:
        """Stands for arrays."""

    memory = Memory()
    there = weakref.ref(memory)
    Kernels().chain([11], 4).run(2, held=memory)
    del memory
    assert there() is not None
    jobs.clear()
    gc.collect()
    assert there() is None


@pytest.mark.parametrize("threads", ["2", "5"])
def test_a_run_and_its_counts_do_not_depend_on_threads(threads, monkeypatch):
    rng = np.random.default_rng(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(70, 100), nd.nn.LIF(100), torch.nn.Linear(100, 40), nd.nn.LIF(40)
    )
    x = (rng.random((300, 37, 70)) < 0.2).astype(np.uint8)
    program = nd.compile(nd.trace(model), nd.target("asic45"), calibration=x.astype(np.float32))
    monkeypatch.setenv("NEURODEPLOY_THREADS", "1")
    alone = nd.simulate(program, x)
    assert min(alone.spikes.values()) > 0
    monkeypatch.setenv("NEURODEPLOY_THREADS", threads)
    for _ in range(5):
        run = nd.simulate(program, x)
        np.testing.assert_array_equal(run.integers, alone.integers)
        assert (run.events, run.spikes, run.overflows) == (
            alone.events,
            alone.spikes,
            alone.overflows,
        )
