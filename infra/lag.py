"""How far a consumer group is behind a topic, in records that are really there."""

import time
from collections.abc import Callable, Iterable

from infra.config import Settings
from infra.errors import BrokerError
from infra.kafka import committed, read_to_end, watermarks

_READ_BELOW = 64
"""A distance this small is counted by reading: near the end most offsets may be transaction markers."""
_POLL_S = 0.25


def consumer_lag(settings: Settings, group: str, topic: str) -> dict[int, int]:
    """Records of each partition that the group has not committed; 0 also where only transaction markers are left."""
    marks = watermarks(settings, topic)
    positions = committed(settings, group, topic)
    lag: dict[int, int] = {}
    for partition, (low, high) in marks.items():
        position = max(positions.get(partition, low), low)
        lag[partition] = max(high - position, 0)
        if 0 < lag[partition] <= _READ_BELOW:
            lag[partition] = sum(1 for _ in read_to_end(settings, topic, partition, start=position))
    return lag


def wait_until_read(
    settings: Settings,
    wanted: Iterable[tuple[str, str]],
    *,
    timeout_s: float,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Wait until no (group, topic) has unread records; `progress` gets the lag of all of them together.

    `check` is called at each look and may raise (a process that should do the reading has died). Raises BrokerError
    `still_behind` after `timeout_s`.
    """
    pairs = list(wanted)
    deadline = time.monotonic() + timeout_s
    while True:
        check()
        behind = {pair: sum(consumer_lag(settings, *pair).values()) for pair in pairs}
        total = sum(behind.values())
        progress(total)
        if total == 0:
            return
        if time.monotonic() > deadline:
            named = ", ".join(f"{group} on {topic}: {lag}" for (group, topic), lag in behind.items() if lag)
            raise BrokerError(f"still behind after {timeout_s:.0f} s: {named}", code="still_behind")
        time.sleep(_POLL_S)
