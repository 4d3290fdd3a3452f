"""Embed the shards of a store in a pool of actors."""

import gc
import sys
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from jobs.progress import Progress
from jobs.spread import actors
from jobs.spread.session import ray_session
from jobs.spread.workers import plan_workers, share_out
from s2m_ray.config.embedding import EmbedConfig
from s2m_ray.errors import StoreError
from s2m_ray.stores.embed import EmbedShard
from s2m_ray.stores.plan import Totals


def embed_shards(
    cfg: EmbedConfig, shards: list[int], items: int, progress: Progress, *, network: bool, cpus_needed: int = 0
) -> Totals:
    """Embed shards whose rows are in the store.

    On a signal to stop, or when nothing moves for ``cfg.stall_s``, the workers leave their shards unfinished, and
    the same call goes on from there.

    Args:
        cfg: The store, the encoder, and the resources.
        shards: Numbers of the shards.
        items: Number of items in these shards, for the progress display.
        progress: Shows how far the shards are.
        network: Whether the encoder has a use for a GPU.
        cpus_needed: CPUs of a worker with a GPU, as a plan measured them; 0 if no plan did.

    Raises:
        ConfigError: The workers do not fit the cluster.
        StoreError: A worker could not write, or worker after worker died on one shard.
        Interrupted: Nothing moved.
        KeyboardInterrupt: A signal came; what was done until then is written.
    """
    started = time.time()
    with ray_session(cfg.resources):
        cfg = replace(cfg, resources=share_out(cfg.resources, network=network, cpus_needed=cpus_needed))
        workers = plan_workers(cfg.resources, at_most=len(shards))
        pool = actors.Pool(
            make=partial(_embedder, cfg),
            folder=cfg.out,
            resources=cfg.resources,
            workers=workers,
            stall_s=cfg.stall_s,
            error=StoreError,
        )
        tally = _Tally(items, progress, started, Totals(workers=workers, gpus_per_worker=cfg.resources.gpus))
        actors.run(pool, shards, tally.hear)
        tally.totals.wall_s = time.time() - started
    return tally.totals


@dataclass
class _Tally:
    """Add up the counts of shards, and show them."""

    items: int
    progress: Progress
    started: float
    totals: Totals = field(default_factory=Totals)

    def hear(self, counts: dict[str, Any] | None, under_way_s: float) -> None:
        totals = self.totals
        if counts:
            totals.add(counts)
            totals.startup_s = min(totals.startup_s or float("inf"), counts["started"] - self.started)
        done, audio_s = totals.items + totals.rejected, totals.audio_s + under_way_s
        if totals.audio_s:  # the manifest need not know how long its items are
            expected_s = totals.audio_s * self.items / done
            self.progress.update(audio_s, expected_s, "audio-s", f"{done} of {self.items} items")
        elif done:  # texts
            self.progress.update(done, self.items, "items")


def _embedder(cfg: EmbedConfig) -> EmbedShard:
    """Return the stage of one actor, on one thread and with its weights loaded.

    With another number of threads torch's kernels round differently (measured: 8e-7). Without this limit Ray would
    set ``cpus_per_worker`` threads. Two workers of one thread are also faster than one worker of two.
    """
    stage = EmbedShard(
        cfg.out.absolute(),
        cfg.encoder,
        cfg.audio,
        batch_s=cfg.resources.batch_s,
        threads=max(0, int(cfg.resources.cpus) - 1),
        retry_rejects=cfg.retry_rejects,
        options={
            "dtype": cfg.dtype,
            "device": "cuda" if cfg.resources.gpus else "cpu",
            "compile_s": cfg.audio.segment_s if cfg.compile else None,
            "batch_s": cfg.resources.batch_s,
        },
    )
    if "torch" in sys.modules:  # the encoder `spectral` does not import torch
        sys.modules["torch"].set_num_threads(1)
    stage.warm_up()
    gc.freeze()  # libraries and weights stay, so garbage collections need not look at them again and again
    return stage
