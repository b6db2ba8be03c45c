"""What ends a worker. None of these is an event's own fault: those become dead letters."""

from infra.errors import TokenmillError


class WorkerError(TokenmillError):
    """A worker can't go on with a partition and ends without acknowledging anything."""


class PartitionLost(WorkerError):
    """Another worker has taken the partition over."""

    def __init__(self, transactional_id: str, step: str) -> None:
        super().__init__(
            f"another worker owns {transactional_id} now (noticed at {step}); this one ends, nothing is lost",
            code="partition_lost",
            transactional_id=transactional_id,
            step=step,
        )


class TransactionFailed(WorkerError):
    """A transaction did not come to a known good end."""

    def __init__(self, transactional_id: str, step: str, detail: str) -> None:
        super().__init__(
            f"the transaction of {transactional_id} failed at {step}: {detail}; "
            "restart the worker, it goes on from the last committed transaction",
            code="transaction_failed",
            transactional_id=transactional_id,
            step=step,
        )


class LogTruncated(WorkerError):
    """The log no longer reaches back to where the state stands."""

    def __init__(self, topic: str, partition: int, position: int, low: int) -> None:
        super().__init__(
            f"{topic}[{partition}] begins at offset {low} but was read only to {position}: "
            f"{low - position - 1} offsets were deleted by retention before they were rated; restore them or accept the "
            "loss by resetting the state",
            code="log_truncated",
            topic=topic,
            partition=partition,
            position=position,
            low=low,
        )


class AnotherLog(WorkerError):
    """The state was built from a log that is not the one there now."""

    def __init__(self, topic: str, partition: int | None, expected: str, found: str) -> None:
        where = topic if partition is None else f"{topic}[{partition}]"
        super().__init__(
            f"the state of {where} follows the log {expected}, but the topic is now {found}: it was recreated "
            "or has another number of partitions; use the state's own topics, or start a new deployment name",
            code="another_log",
            topic=topic,
            partition=partition,
            expected=expected,
            found=found,
        )


class DeliveryStalled(WorkerError):
    """Faust delivers records of a partition, but not the one that comes next."""

    def __init__(self, topic: str, partition: int, position: int, expected: int | None) -> None:
        super().__init__(
            f"{topic}[{partition}] was read to offset {position}, the next record is at {expected}, and only later ones are "
            "delivered: the consumer group's offset was moved; set it back to where the state stands and restart",
            code="delivery_stalled",
            topic=topic,
            partition=partition,
            position=position,
            expected=expected,
        )
