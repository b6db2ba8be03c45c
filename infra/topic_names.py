"""The names of the topics (DESIGN section 4), in one place.

A deployment may put a prefix before all of them, so that several share one Kafka cluster. Every part asks
`settings.topics`; none spells a topic's name.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topics:
    """Topic names of one deployment: each property is the name as the broker knows it, prefix included."""

    prefix: str = ""

    @property
    def usage_events(self) -> str:
        """Everything that can change an amount, by tenant: usage, GPU usage, control records."""
        return f"{self.prefix}usage.events.v1"

    @property
    def gpu_samples(self) -> str:
        """GPU utilisation samples, by GPU."""
        return f"{self.prefix}gpu.samples.v1"

    @property
    def usage_rated(self) -> str:
        """Rated usage, the public contract with billing systems."""
        return f"{self.prefix}usage.rated.v1"

    @property
    def usage_signals(self) -> str:
        """Policy signals: quota, budget, gaps, unpriced usage."""
        return f"{self.prefix}usage.signals.v1"

    @property
    def usage_excluded(self) -> str:
        """Rows that were read and not counted, and why."""
        return f"{self.prefix}usage.excluded.v1"

    @property
    def usage_dlq(self) -> str:
        """Dead letters: rows and records that could not be counted, for operators."""
        return f"{self.prefix}usage.dlq.v1"

    @property
    def rating_catalog(self) -> str:
        """The catalogue that commands read and write, and the registered log epochs. One partition."""
        return f"{self.prefix}rating.catalog.v1"

    @property
    def state(self) -> str:
        """State of the rating agent, one partition per partition of `usage_events`."""
        return f"{self.prefix}tokenmill.state.v1"

    @property
    def gpu_state(self) -> str:
        """State of the GPU meter, one partition per partition of `gpu_samples`."""
        return f"{self.prefix}tokenmill.gpu-state.v1"

    def all(self) -> tuple[str, ...]:
        """Every topic of the deployment, ingest first."""
        return (
            self.usage_events,
            self.gpu_samples,
            self.usage_rated,
            self.usage_signals,
            self.usage_excluded,
            self.usage_dlq,
            self.rating_catalog,
            self.state,
            self.gpu_state,
        )
