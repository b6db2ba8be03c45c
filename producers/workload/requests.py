"""What each request used: tenant, model, tokens, cache hits, outcome, retries and times, as columns.

Row order is by start; a row is one attempt, so a retry is a row of its own with the request id of the first attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from producers.workload.arrivals import arrival_seconds
from producers.workload.draws import Flags, Floats, Ints, choose, lookup, running_number, stream, zipf
from producers.workload.figures import (
    ABORTED_SHARE,
    AGENT,
    CACHE_BLOCK_TOKENS,
    CLASSES,
    FAILED_SHARE,
    FAILURES,
    MODEL_ZIPF,
    RETRIED_SHARE,
    TENANT_ZIPF,
    WORK_PER_CACHED_INPUT,
    WORK_PER_OUTPUT,
    WORK_PER_UNCACHED_INPUT,
)
from producers.workload.fleet import Deployment, deployments

SUCCESS, ERROR, ABORTED = 0, 1, 2
STATUSES = ("success", "error", "aborted")


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
    status: Ints
    """SUCCESS, ERROR or ABORTED."""
    failure: Ints
    """Position in FAILURES, -1 where there is none."""
    attempt: Ints
    streamed: Flags
    session: Ints
    """Running number of the session within its tenant and class."""
    started_us: Ints
    first_token_us: Ints
    ended_us: Ints
    request_id: npt.NDArray[np.uint8]
    """ASCII codes of shape (rows, 32); the attempts of one request share it."""

    def __len__(self) -> int:
        return len(self.tenant)

    def rows(self, order: Ints) -> Requests:
        """The rows in another order, or some of them, or some of them again."""
        return Requests(*(getattr(self, name)[order] for name in self.__slots__))

    def work(self) -> Floats:
        """What each row cost its GPU, in output-token equivalents; nothing where the engine refused it."""
        uncached = self.input_tokens - self.cached_tokens
        cost: Floats = (
            self.output_tokens * WORK_PER_OUTPUT
            + uncached * WORK_PER_UNCACHED_INPUT
            + self.cached_tokens * WORK_PER_CACHED_INPUT
        )
        return cost


def make_requests(seed: int, tenants: int, models: int, count: int, start: datetime, seconds: int) -> Requests:
    """`count` attempts whose first attempts start within `seconds` of `start`."""
    retries = round(count * RETRIED_SHARE)
    first = _first_attempts(seed, tenants, models, count - retries, start, seconds)
    failed = _outcomes(seed, first)
    places = deployments(models)
    _cut_short(seed, first)
    _times(stream(seed, "times"), first, places)
    # Only so many retries as there are failures: small workloads round both numbers on their own.
    second = _retries(seed, first, failed[:retries], places)
    everything = _concatenate(first, second)
    return everything.rows(np.argsort(everything.started_us, kind="stable"))


def _first_attempts(seed: int, tenants: int, models: int, count: int, start: datetime, seconds: int) -> Requests:
    kind, started = _arrivals(seed, count, start, seconds)
    random = stream(seed, "who")
    tenant = zipf(random, tenants, TENANT_ZIPF, count)
    model = zipf(random, models, MODEL_ZIPF, count)
    deployment = _placed(random, model, deployments(models))
    input_tokens, cached, output_tokens, reasoning = _tokens(stream(seed, "tokens"), kind, model)
    return Requests(
        kind=kind,
        tenant=tenant,
        model=model,
        deployment=deployment,
        input_tokens=input_tokens,
        cached_tokens=cached,
        written_tokens=_written(kind, input_tokens, cached),
        output_tokens=output_tokens,
        reasoning_tokens=reasoning,
        status=np.full(count, SUCCESS),
        failure=np.full(count, -1),
        attempt=np.ones(count, np.int64),
        streamed=stream(seed, "streams").random(count) < np.array([each.streamed for each in CLASSES])[kind],
        session=running_number(tenant * len(CLASSES) + kind) // np.array([each.turns for each in CLASSES])[kind],
        started_us=started,
        first_token_us=np.full(count, -1),
        ended_us=started.copy(),
        request_id=_random_hex(stream(seed, "ids"), count),
    )


def _tokens(random: np.random.Generator, kind: Ints, model: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Input, cached input, output and reasoning tokens of each request; lengths of input and output are independent."""
    count = len(kind)
    draws = random.random((4, count))
    inputs, outputs, cached_share = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count)
    for number, each in enumerate(CLASSES):
        rows = kind == number
        inputs[rows] = np.maximum(lookup(each.input_tokens, draws[0, rows]), 1)
        outputs[rows] = np.maximum(lookup(each.output_tokens, draws[1, rows]), 1)
        cached_share[rows] = lookup(each.cached, draws[2, rows])
    cached = (cached_share * inputs // CACHE_BLOCK_TOKENS).astype(np.int64) * CACHE_BLOCK_TOKENS
    # Models with an odd number reason before they answer, up to two thirds of their output (assumed).
    reasoning = np.where(model % 2 == 1, (outputs * (draws[3] * 0.66)).astype(np.int64), 0)
    return inputs, cached, outputs, reasoning


def _written(kind: Ints, input_tokens: Ints, cached: Ints) -> Ints:
    """Agents ask for their input to be kept: the whole blocks that were not in the cache are written to it (assumed)."""
    blocks = (input_tokens - cached) // CACHE_BLOCK_TOKENS
    return np.where(kind == CLASSES.index(AGENT), blocks * CACHE_BLOCK_TOKENS, 0)


def _arrivals(seed: int, count: int, start: datetime, seconds: int) -> tuple[Ints, Ints]:
    """Class and start of each request, by start."""
    counts = [round(count * each.share) for each in CLASSES[1:]]
    counts.insert(0, count - sum(counts))
    times = [
        arrival_seconds(stream(seed, f"arrivals {each.name}"), each, number, start, seconds)
        for each, number in zip(CLASSES, counts, strict=True)
    ]
    kind = np.repeat(np.arange(len(CLASSES)), counts)
    started = (np.concatenate(times) * 1e6).astype(np.int64)
    order = np.argsort(started, kind="stable")
    return kind[order], started[order]


def _placed(random: np.random.Generator, model: Ints, places: list[Deployment]) -> Ints:
    """The deployment that serves each request: one of its model's, by their shares."""
    draw = random.random(len(model))
    chosen = np.full(len(model), -1)
    for position in reversed(range(len(places))):  # the first deployment of a model takes the draws below its share
        here = (model == places[position].model) & ((draw < places[position].share) | (chosen < 0))
        chosen[here] = position
    return chosen


def _random_hex(random: np.random.Generator, count: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(random.bytes(16 * count).hex().encode(), dtype=np.uint8).reshape(count, 32)


def _outcomes(seed: int, requests: Requests) -> Ints:
    """Let some requests fail and some be aborted; returns the failed rows in random order."""
    random = stream(seed, "outcomes")
    count = len(requests)
    failures, aborts = round(count * FAILED_SHARE), round(count * ABORTED_SHARE)
    chosen = choose(random, count, failures + aborts)
    failed, aborted = chosen[:failures], chosen[failures:]
    requests.status[failed] = ERROR
    requests.failure[failed] = random.integers(0, len(FAILURES), failures)
    requests.status[aborted] = ABORTED
    return failed


def _cut_short(seed: int, requests: Requests) -> None:
    """A failed request has no output, and no input either where it was refused; an aborted one a part of its output."""
    refused = np.isin(requests.failure, [number for number, (http, _) in enumerate(FAILURES) if http in (429, 503)])
    failed = requests.status == ERROR
    aborted = requests.status == ABORTED
    part = stream(seed, "aborts").random(len(requests))
    output = np.where(aborted, (requests.output_tokens * part).astype(np.int64), requests.output_tokens)
    requests.output_tokens = np.where(failed, 0, output)
    requests.reasoning_tokens = np.minimum(requests.reasoning_tokens, requests.output_tokens)
    requests.input_tokens = np.where(refused, 0, requests.input_tokens)
    requests.cached_tokens = np.where(refused, 0, requests.cached_tokens)
    requests.written_tokens = np.where(failed, 0, requests.written_tokens)


def _times(random: np.random.Generator, requests: Requests, places: list[Deployment]) -> None:
    """First token and end: queue, then reading the input, then one output token after the other."""
    draws = random.random((2, len(requests)))
    prefill = np.array([place.gpu_type.prefill_tokens_per_s for place in places])[requests.deployment]
    decode = np.array([place.gpu_type.decode_tokens_per_s for place in places])[requests.deployment]
    first = 0.05 + 0.2 * draws[0] + (requests.input_tokens - requests.cached_tokens) / prefill
    whole = first + requests.output_tokens / decode * (0.8 + 0.4 * draws[1])
    timed_out = requests.failure == [http for http, _ in FAILURES].index(504)
    failed_after = np.where(timed_out, 60.0, 0.01 + draws[1])
    duration = np.where(requests.status == ERROR, failed_after, whole)
    requests.ended_us = requests.started_us + (duration * 1e6).astype(np.int64)
    answered = requests.output_tokens > 0
    requests.first_token_us = np.where(answered, requests.started_us + (first * 1e6).astype(np.int64), -1)


def _retries(seed: int, first: Requests, failed: Ints, places: list[Deployment]) -> Requests:
    """A second attempt of each of these failed rows, some seconds later, which succeeds."""
    random = stream(seed, "retries")
    again = first.rows(failed)
    count = len(failed)
    again.attempt = np.full(count, 2)
    again.status = np.full(count, SUCCESS)
    again.failure = np.full(count, -1)
    again.started_us = again.ended_us + (1e6 + 9e6 * random.random(count)).astype(np.int64)
    draws = random.random((2, count))
    for number, each in enumerate(CLASSES):
        rows = again.kind == number
        refused = rows & (again.input_tokens == 0)
        again.input_tokens[refused] = np.maximum(lookup(each.input_tokens, draws[0, refused]), 1)
        again.output_tokens[rows] = np.maximum(lookup(each.output_tokens, draws[1, rows]), 1)
    again.written_tokens = _written(again.kind, again.input_tokens, again.cached_tokens)
    again.reasoning_tokens = np.where(again.model % 2 == 1, again.output_tokens // 3, 0)
    _times(random, again, places)
    return again


def _concatenate(first: Requests, second: Requests) -> Requests:
    return Requests(*(np.concatenate((getattr(first, name), getattr(second, name))) for name in first.__slots__))
