"""The agent that rates: usage events in, rated records out."""

from collections.abc import AsyncIterator

import faust

from infra.config import Settings
from streams.worker import Worker

TAKE_RECORDS, TAKE_WITHIN_S = 128, 0.2


def register_rate(app: faust.App, settings: Settings, worker: Worker) -> None:
    """Add the agent `rate` to the application; it hands what Faust delivers to the worker's partitions."""
    topic = app.topic(settings.topics.usage_events, value_type=bytes, value_serializer="raw", key_serializer="raw")

    @app.agent(topic, name="rate", concurrency=1)
    async def rate(stream: faust.Stream[bytes]) -> AsyncIterator[None]:
        async for events in stream.noack_take(TAKE_RECORDS, within=TAKE_WITHIN_S):
            await worker.take(events)
            yield None
