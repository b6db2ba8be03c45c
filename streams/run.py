"""Running one worker process from start to its end."""

import asyncio
import gc
import signal
from typing import Any

import faust

from infra.config import Settings
from infra.logs import get_logger
from infra.metrics_server import Health
from infra.topics import log_epoch
from streams.app import create_app
from streams.gpu_processor import GpuProcessor
from streams.partition import Stage
from streams.rate_processor import RateProcessor
from streams.ticks import Ticker
from streams.warm_up import compile_hot_path
from streams.worker import Worker

log = get_logger(__name__)

_STOP_TIMEOUT_S = 10.0
_OBSERVE_S = 0.5


def run_worker(settings: Settings, health: Health | None = None) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code (0 after a clean stop).

    `health` is told that the event loop goes round, and asks whether the partitions are there. Raises BrokerError or
    LogChangedError before anything is read, when the topics are not what the deployment was built on.
    """
    return asyncio.run(_run(settings, health or Health()))


async def _run(settings: Settings, health: Health) -> int:
    topics = settings.topics
    usage, samples = log_epoch(settings, topics.usage_events), log_epoch(settings, topics.gpu_samples)
    stages: list[Stage[Any]] = [
        Stage(topics.usage_events, topics.state, lambda p: RateProcessor(settings, usage, p), usage, ticks=True),
        Stage(topics.gpu_samples, topics.gpu_state, lambda p: GpuProcessor(settings, samples, p), samples),
    ]
    ticker = Ticker(settings) if settings.tick_after_s else None
    worker = Worker(settings, stages, ticker)
    app = create_app(settings, worker)
    health.is_ready = lambda: worker.ready
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log.info("worker.starting", deployment=settings.deployment, kafka=settings.kafka.bootstrap)
    # Before Faust joins: a member of the group that compiles for seconds would hold everybody up.
    await asyncio.to_thread(compile_hot_path)
    _collect_seldom()
    stopping = asyncio.create_task(stop.wait())
    lasting = (worker.flush_regularly(), worker.check_logs_regularly(), _run_faust(app), _observe(worker, health))
    work = [asyncio.create_task(each) for each in lasting]
    await asyncio.wait({*work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        errors = [error for each in work if each.done() and (error := each.exception()) is not None]
        worker.fail(errors[0] if errors else app.crash_reason or RuntimeError("Faust stopped by itself"))
    log.info("worker.stopping")
    for each in work:
        each.cancel()
    await worker.drain()
    if ticker is not None:
        ticker.close()
    try:
        await asyncio.wait_for(app.stop(), _STOP_TIMEOUT_S)
    except TimeoutError:
        # Everything is committed and released by now; only Faust's own threads are slow to end.
        log.warning("worker.faust_slow_to_stop", timeout_s=_STOP_TIMEOUT_S)
    log.info("worker.stopped")
    return 0


def _collect_seldom() -> None:
    """Let the collector of cycles run seldom: what it walks is the state, very many objects that live and hold no cycles.

    With Python's own settings it took a third of a flush that changed 4,000 usage keys (measured).
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


async def _observe(worker: Worker, health: Health) -> None:
    """Say twice a second that the event loop goes round, and how far the partitions are behind, until cancelled."""
    while True:
        health.beat()
        worker.observe()
        await asyncio.sleep(_OBSERVE_S)


async def _run_faust(app: faust.App) -> None:
    """Start Faust and wait until it ends, which it does only when it crashes."""
    await app.start()
    await app.wait_until_stopped()
