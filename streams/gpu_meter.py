"""The agent that meters GPUs: samples in, usage of GPU time out."""

from collections.abc import AsyncIterator

import faust

from infra.config import Settings
from streams.rate import TAKE_RECORDS, TAKE_WITHIN_S
from streams.worker import Worker


def register_gpu_meter(app: faust.App, settings: Settings, worker: Worker) -> None:
    """Add the agent `gpu_meter` to the application; it hands what Faust delivers to the worker's partitions."""
    topic = app.topic(settings.topics.gpu_samples, value_type=bytes, value_serializer="raw", key_serializer="raw")

    @app.agent(topic, name="gpu_meter", concurrency=1)
    async def gpu_meter(stream: faust.Stream[bytes]) -> AsyncIterator[None]:
        async for events in stream.noack_take(TAKE_RECORDS, within=TAKE_WITHIN_S):
            await worker.take(events)
            yield None
