"""What each request used: tenant, model, tokens, cache hits, outcome, retries and times, as columns.

A row is one attempt, so a retry is a row of its own with the request id of the first attempt. Rows of a chunk are class
by class, by start, with its retries at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from producers.workload.arrivals import Chunk
from producers.workload.draws import Flags, Floats, Ints, Stream, Words, share_table, zipf_table, zipf_weights
from producers.workload.figures import (
    CLASSES,
    FAILURES,
    MODEL_ZIPF,
    REFUSED,
    TENANT_ZIPF,
    TRAINING_GPUS,
    WORK_PER_CACHED_INPUT,
    WORK_PER_OUTPUT,
    WORK_PER_TRAINING,
    WORK_PER_UNCACHED_INPUT,
)
from producers.workload.fleet import Pools, deployments
from producers.workload.load import Waiting
from producers.workload.shares import Shares
from producers.workload.tokens import TokenMaker, written_to_cache

SUCCESS, ERROR, ABORTED = 0, 1, 2
STATUSES = ("success", "error", "aborted")
USERS_PER_TENANT = 50
_TIMED_OUT_S = 60.0
_TIMED_OUT = [status for status, _ in FAILURES].index(504)
_REFUSED = np.array([status in REFUSED for status, _ in FAILURES])


@dataclass(slots=True)
class Requests:
    """One array per column, all of the same length; times are microseconds from the workload's start, -1 means none."""

    kind: Ints
    """Position in CLASSES."""
    tenant: Ints
    model: Ints
    deployment: Ints
    """Position in `deployments(models)`."""
    input_tokens: Ints
    cached_tokens: Ints
    written_tokens: Ints
    """Input written to the prefix cache."""
    output_tokens: Ints
    reasoning_tokens: Ints
    training_tokens: Ints
    status: Ints
    """SUCCESS, ERROR or ABORTED."""
    failure: Ints
    """Position in FAILURES, -1 where there is none."""
    attempt: Ints
    streamed: Flags
    session: Words
    """64 bits that stand for the session."""
    user: Ints
    """Number of the end user within the tenant."""
    node: Ints
    """The gateway node that the request came to."""
    started_us: Ints
    runs_us: Ints
    """When the engine begins with it: after the queue."""
    first_token_us: Ints
    ended_us: Ints
    arrival_us: Ints
    """When the event reaches the log."""
    request_id: Words
    """128 bits, shape (rows, 2); the attempts of one request share it."""

    def __len__(self) -> int:
        return len(self.tenant)

    def rows(self, which: Ints | Flags | slice) -> Requests:
        """The rows in another order, or some of them, or some of them again."""
        return Requests(*(getattr(self, name)[which] for name in self.__slots__))

    def work(self) -> Ints:
        """What each row cost its GPUs, in WORK_UNITs; nothing where the engine refused it."""
        read = self.input_tokens * WORK_PER_UNCACHED_INPUT
        read -= self.cached_tokens * (WORK_PER_UNCACHED_INPUT - WORK_PER_CACHED_INPUT)
        read += self.output_tokens * WORK_PER_OUTPUT
        read += self.training_tokens * WORK_PER_TRAINING
        return read


def joined(parts: Iterable[Requests]) -> Requests:
    """The rows of all parts, one after the other."""
    pieces = list(parts)
    if len(pieces) == 1:
        return pieces[0]
    return Requests(*(np.concatenate([getattr(each, name) for each in pieces]) for name in Requests.__slots__))


def no_requests(rows: int = 0) -> Requests:
    """So many rows in which nothing is said yet."""
    types: dict[str, Any] = {"streamed": bool, "session": np.uint64, "request_id": np.uint64}
    return Requests(
        *(
            np.zeros((rows, 2) if name == "request_id" else rows, types.get(name, np.int64))
            for name in Requests.__slots__
        )
    )


class RequestMaker:
    """Makes the requests of one chunk after the other. What it remembers is bounded: sessions and the queues of GPUs."""

    def __init__(
        self,
        seed: int,
        tenants: int,
        models: int,
        nodes: int,
        start_us: int,
        users: Sequence[int],
        shares: Shares,
        pools: Pools,
    ) -> None:
        self._seed = seed
        self._nodes = nodes
        self._start_us = start_us
        self._shares = shares
        self._pools = pools
        self._tokens = [TokenMaker(seed, number, users[number]) for number in range(len(CLASSES))]
        self._waiting = Waiting(pools)
        self._tenants = zipf_table(tenants, TENANT_ZIPF)
        places = deployments(models)
        popular = zipf_weights(models, MODEL_ZIPF)
        self._places = share_table(np.array([popular[each.model] * each.share for each in places]))
        self._models = np.array([each.model for each in places])
        self._prefill = np.array([each.gpu_type.prefill_tokens_per_s for each in places])
        self._decode = np.array([each.gpu_type.decode_tokens_per_s for each in places])
        self._streamed = np.array([int(each.streamed * 2**16) for each in CLASSES])
        self._training = self._training_speeds()

    def make(self, chunk: Chunk) -> Requests:
        """All attempts of the requests that start in this chunk. To be called for each chunk in order."""
        first = sum(len(started) for started in chunk.started_us)
        failures, aborts, retried = self._shares.next(first)
        made = no_requests(first + retried)
        self._fill(made, chunk)
        failed = self._fail(chunk.number, made, first, failures, aborts)
        self._time(chunk, made, slice(0, first))
        if retried:
            self._retry(chunk, made, first, failed[:retried])
        return made

    def _fill(self, made: Requests, chunk: Chunk) -> None:
        """First attempts as they would be if nothing went wrong."""
        at = 0
        for kind, started in enumerate(chunk.started_us):
            if count := len(started):
                rows = slice(at, at + count)
                made.kind[rows] = kind
                made.started_us[rows] = started
                self._tokens[kind].fill(made, rows, chunk.number, self._model_of)
                at += count
        chance = Stream(self._seed, "chances", chunk.number).words(at)
        made.streamed[:at] = (chance & np.uint64(0xFFFF)).astype(np.int64) < self._streamed[made.kind[:at]]
        made.node[:at] = ((chance >> np.uint64(32)) * np.uint64(self._nodes) >> np.uint64(32)).astype(np.int64)
        session = made.session[:at]
        made.tenant[:at] = self._tenants[(session >> np.uint64(44)).astype(np.int64)]
        made.user[:at] = ((session & np.uint64(0xFFF)) * np.uint64(USERS_PER_TENANT) >> np.uint64(12)).astype(np.int64)
        made.attempt[:at] = 1
        made.failure[:] = -1
        # The start of the workload is part of an id: the same seed at another time makes other requests.
        ids = Stream(self._seed, "ids", chunk.number, self._start_us % 2**63)
        made.request_id[:at] = ids.words(2 * at).reshape(at, 2)

    def _model_of(self, session: Words) -> tuple[Ints, Ints]:
        """Deployment and model of a session."""
        place = self._places[((session >> np.uint64(28)) & np.uint64(0xFFFF)).astype(np.int64)].astype(np.int64)
        return place, self._models[place]

    def _fail(self, chunk: int, made: Requests, first: int, failures: int, aborts: int) -> Ints:
        """Let some requests fail and some be aborted: they have less output, or no tokens at all. Those that failed."""
        stream = Stream(self._seed, "outcomes", chunk)
        chosen = stream.choose(first, failures + aborts)
        failed, aborted = chosen[:failures], chosen[failures:]
        made.status[failed] = ERROR
        made.failure[failed] = reason = stream.below(len(FAILURES), failures)
        for column in (made.output_tokens, made.reasoning_tokens, made.written_tokens, made.training_tokens):
            column[failed] = 0
        refused = failed[_REFUSED[reason]]
        made.input_tokens[refused] = 0
        made.cached_tokens[refused] = 0
        made.status[aborted] = ABORTED
        part = stream.uniform(aborts)
        made.output_tokens[aborted] = (made.output_tokens[aborted] * part).astype(np.int64)
        made.training_tokens[aborted] = (made.training_tokens[aborted] * part).astype(np.int64)
        made.reasoning_tokens[aborted] = np.minimum(made.reasoning_tokens[aborted], made.output_tokens[aborted])
        return failed

    def _time(self, chunk: Chunk, made: Requests, rows: slice) -> None:
        """Queue, then reading the input, then one output token after the other; slower on a busy GPU."""
        started, place, output = made.started_us[rows], made.deployment[rows], made.output_tokens[rows]
        wait, speed = self._waiting.queue(chunk, made.rows(rows))
        draws = Stream(self._seed, "times", chunk.number, rows.start).shorts(2 * len(started))
        luck = draws[: len(started)] / 2**16, draws[len(started) :] / 2**16
        runs = wait + 0.05 + 0.2 * luck[0]
        first = runs + (made.input_tokens[rows] - made.cached_tokens[rows]) / self._prefill[place]
        ended = first + output / (self._decode[place] * speed) * (0.8 + 0.4 * luck[1])
        trains = np.flatnonzero(made.training_tokens[rows])
        ended[trains] += made.training_tokens[rows][trains] / self._training[place[trains]]
        failed = np.flatnonzero(made.status[rows] == ERROR)
        ended[failed] = np.where(made.failure[rows][failed] == _TIMED_OUT, _TIMED_OUT_S, 0.01 + luck[1][failed])
        runs[failed] = 0.0
        made.runs_us[rows] = started + _microseconds(runs)
        made.ended_us[rows] = started + _microseconds(ended)
        made.first_token_us[rows] = np.where(output > 0, started + _microseconds(first), -1)

    def _retry(self, chunk: Chunk, made: Requests, first: int, failed: Ints) -> None:
        """A second attempt of these failed rows, some seconds later, which succeeds."""
        count = len(failed)
        rows = slice(first, first + count)
        for name in ("kind", "tenant", "model", "deployment", "streamed", "session", "user", "node", "request_id"):
            column = getattr(made, name)
            column[rows] = column[failed]
        made.attempt[rows] = 2
        stream = Stream(self._seed, "retries", chunk.number)
        made.started_us[rows] = made.ended_us[failed] + 10**6 + stream.below(9 * 10**6, count)
        for kind in np.unique(made.kind[rows]).tolist():
            self._tokens[kind].fill_again(made, first + np.flatnonzero(made.kind[rows] == kind), stream)
        made.written_tokens[rows] = written_to_cache(made.kind[rows], made.input_tokens[rows], made.cached_tokens[rows])
        self._time(chunk, made, rows)

    def _training_speeds(self) -> Floats:
        """Tokens trained per second on each deployment: half of some GPUs is at work for a job."""
        gpus = np.minimum(self._pools.gpus, TRAINING_GPUS)
        speeds: Floats = self._pools.capacity / self._pools.gpus * gpus / 2 / WORK_PER_TRAINING
        return speeds[self._pools.of_deployment]


def _microseconds(seconds: Floats) -> Ints:
    return (seconds * 1e6).astype(np.int64)
