"""The figures that the synthetic workload is made of, each with its source. Nothing here is computed.

Sources: Azure LLM inference traces 2023 (Patel et al., Splitwise, ISCA 2024; CC-BY 4.0) and 2024 (Stojkovic et al.,
DynamoLLM, HPCA 2025; CC-BY 4.0; hourly shapes read off published figures); Mooncake traces (FAST 2025); BurstGPT
(HPMLL/BurstGPT); vendors' data sheets and InferenceMAX v1 for GPUs. "Assumed" marks what no source states.

A table of knots ((x, y), ...) is read with straight lines between the knots; for a quantile table x is the share of
requests whose value is at most y.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Knots = tuple[tuple[float, float], ...]

_SHARES: Final = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1)


def _quantiles(*values: int) -> Knots:
    return tuple(zip(_SHARES, values, strict=True))


Turns = tuple[tuple[int, ...], ...]
"""Ways to divide SESSION_FRAME requests of one user into sessions, all equally likely; each sums to SESSION_FRAME."""

SESSION_FRAME: Final = 16


@dataclass(frozen=True, slots=True)
class RequestClass:
    """One kind of traffic: its share of the mixed profile, its lengths, its sessions and caching, and when it comes.

    `per_minute` are knots of (hour of day in UTC, relative rate), `weekend` scales them on Saturday and Sunday. `on_off`
    are the mean seconds of bursts and pauses, None where requests come steadily.
    """

    name: str
    share: float
    input_tokens: Knots
    output_tokens: Knots
    per_minute: Knots
    weekend: float
    on_off: tuple[float, float] | None
    endpoint: str
    operation: str
    streamed: float
    turns: Turns
    """Lengths of sessions. The input of a session grows from turn to turn."""
    prefix_tokens: int = 0
    """System prompt that the first turns of all sessions share."""
    kept: float = 0.0
    """Share of later turns that still find the turn before them in the prefix cache."""
    cached: Knots | None = None
    """Quantile table of the cached share of the input, for a class without sessions."""
    trains: bool = False
    """Jobs: `input_tokens` is read as training tokens, and there is nothing else."""
    service_tier: str = "default"


_LONG_SESSIONS: Final[Turns] = ((8, 8), (16,), (3, 13), (1, 5, 10), (12, 4), (2, 6, 8), (7, 9), (11, 5))
_SHORT_SESSIONS: Final[Turns] = (
    (1, 1, 2, 4, 8), (3, 5, 1, 7), (16,), (1, 2, 1, 3, 9), (4, 4, 2, 6), (10, 1, 1, 4), (2, 2, 12), (6, 5, 5),
)  # fmt: skip
_NO_SESSIONS: Final[Turns] = ((1,) * SESSION_FRAME,) * 8

CHAT: Final = RequestClass(
    name="chat",
    share=0.5699,
    # Azure 2023, conversation.
    input_tokens=_quantiles(2, 29, 181, 207, 387, 403, 703, 1020, 1071, 1130, 1315, 2734, 4083, 4142, 6179, 14050),
    output_tokens=_quantiles(7, 16, 41, 54, 77, 91, 103, 129, 177, 384, 400, 424, 451, 601, 954, 1000),
    # Azure 2024, conversation, a weekday.
    per_minute=(
        (0, 2200),
        (2, 3100),
        (4, 2300),
        (8, 3600),
        (11, 3300),
        (14.5, 4500),
        (20, 2900),
        (22, 2200),
        (24, 2200),
    ),
    weekend=0.55,
    on_off=None,  # Azure 2023: Poisson around a slowly moving rate
    endpoint="/v1/chat/completions",
    operation="chat",
    streamed=0.8,  # assumed
    turns=_SHORT_SESSIONS,  # assumed
    prefix_tokens=128,  # assumed
    kept=0.5,  # assumed
)
CODE: Final = RequestClass(
    name="code",
    share=0.24,
    # Azure 2023, code.
    input_tokens=_quantiles(3, 17, 75, 147, 386, 770, 1075, 1469, 1909, 2433, 3192, 5188, 7303, 7436, 7437, 7437),
    output_tokens=_quantiles(6, 6, 6, 7, 8, 9, 11, 13, 16, 20, 29, 55, 90, 251, 825, 1899),
    # Azure 2024, code, a weekday.
    per_minute=((0, 2300), (2, 1700), (8, 450), (11, 450), (15, 4000), (17, 3600), (19, 5200), (24, 2300)),
    weekend=0.25,
    on_off=(16.7, 43.0),  # Azure 2023: mean seconds of bursts and of pauses
    endpoint="/v1/completions",
    operation="completion",
    streamed=0.95,  # assumed
    turns=_LONG_SESSIONS,  # assumed
    prefix_tokens=64,  # assumed
    kept=0.7,  # assumed
)
AGENT: Final = RequestClass(
    name="agent",
    share=0.14,
    # Mooncake, conversation.
    input_tokens=_quantiles(
        891, 894, 901, 964, 1662, 3263, 4993, 6909, 9570, 13196, 17869, 27367, 39550, 85400, 121301, 126195
    ),
    output_tokens=_quantiles(1, 3, 10, 24, 100, 213, 291, 350, 399, 447, 504, 597, 698, 1119, 2000, 2000),
    per_minute=((0, 1000), (24, 1000)),  # BurstGPT, API traffic: flat in the mean
    weekend=1.0,
    on_off=None,
    endpoint="/v1/responses",
    operation="chat",
    streamed=0.2,  # assumed
    turns=_LONG_SESSIONS,  # assumed
    prefix_tokens=512,  # Mooncake: every request hits the first block, which has 512 tokens
    kept=0.65,  # so that 37 % of all input is read from the cache: Mooncake, conversation
)
BATCH: Final = RequestClass(
    name="batch",
    share=0.05,
    # Mooncake, synthetic: questions about long documents.
    input_tokens=_quantiles(
        13, 16, 22, 30, 88, 913, 4365, 11587, 16290, 19409, 28425, 38611, 48905, 66456, 191373, 191378
    ),
    output_tokens=_quantiles(1, 2, 2, 4, 8, 16, 32, 69, 126, 210, 289, 389, 519, 768, 813, 893),
    per_minute=((0, 3000), (5, 3000), (8, 800), (18, 800), (22, 3000), (24, 3000)),  # assumed: at night
    weekend=1.0,
    on_off=(120.0, 480.0),  # assumed: a file of requests, then nothing
    endpoint="/v1/batches",
    operation="batch",
    streamed=0.0,
    turns=_NO_SESSIONS,
    # Mooncake, synthetic: 55 % of requests hit nothing, the others nearly everything.
    cached=((0, 0), (0.55, 0), (0.56, 0.96), (1, 0.98)),
    service_tier="batch",
)
FINE_TUNING: Final = RequestClass(
    name="fine-tuning",
    share=0.0001,  # assumed
    # Assumed: tokens of a job, examples times epochs.
    input_tokens=_quantiles(
        20_000, 25_000, 40_000, 60_000, 100_000, 150_000, 220_000, 300_000, 450_000, 700_000,
        1_200_000, 3_000_000, 5_000_000, 10_000_000, 20_000_000, 20_000_000,
    ),
    output_tokens=((0, 0), (1, 0)),
    per_minute=((0, 400), (7, 400), (9, 2000), (18, 2000), (22, 400), (24, 400)),  # assumed: office hours
    weekend=0.3,
    on_off=None,
    endpoint="/v1/fine_tuning/jobs",
    operation="fine_tune",
    streamed=0.0,
    turns=_NO_SESSIONS,
    trains=True,
)  # fmt: skip
CLASSES: Final = (CHAT, CODE, AGENT, BATCH, FINE_TUNING)

PROFILES: Final[Mapping[str, Mapping[str, float]]] = {
    "mixed": {each.name: each.share for each in CLASSES},
    "inference": {each.name: each.share for each in CLASSES if not each.trains},
    **{each.name: {each.name: 1.0} for each in CLASSES},
}
"""What a workload may consist of: shares of requests by class."""

TURN_GAP_S: Final = 60.0
"""Mean seconds from a turn of a session to the next one; assumed."""
REASONING_SHARE: Final = 0.66
"""Models with an odd number reason before they answer, up to this share of their output; assumed."""

CACHE_BLOCK_TOKENS: Final = 16
"""The prefix cache works in blocks of this many tokens (vLLM's default)."""

TENANT_ZIPF: Final = 1.1
"""Tenant k has a share of requests in proportion to k^-1.1."""
MODEL_ZIPF: Final = 0.8
"""Likewise for models; assumed."""

FAILED_SHARE: Final = 0.03
"""BurstGPT: 1.8, 1.9 and 7.3 % of the requests of its three files have no response."""
RETRIED_SHARE: Final = 0.5
"""Share of failed requests that are tried again, once: 1 to 2 % of all requests; assumed."""
ABORTED_SHARE: Final = 0.01
"""The client goes away before the last token; assumed."""
DUPLICATE_SHARE: Final = 0.005
"""Events sent twice, 0.1 to 1 %, assumed. Half of them come again in runs of up to DUPLICATE_RUN: a re-sent batch."""
DUPLICATE_RUN: Final = 32
LATE_SHARE: Final = 0.01
"""Events that reach the log between LATE_S after their time; assumed."""
LATE_S: Final[Knots] = ((0, 60), (0.9, 300), (1, 900))
VERY_LATE_SHARE: Final = 0.0001
"""Events that reach the log between VERY_LATE_S after their time; assumed."""
VERY_LATE_S: Final[Knots] = ((0, 3_600), (1, 10_800))
DELAY_S: Final[Knots] = ((0, 0.05), (0.5, 0.5), (0.9, 4), (1, 60))
"""Seconds from the end of a request to the log for all others: median 0.5, 99th percentile of all 60; assumed."""

OUTAGE_SHORTEST_HOURS: Final = 3
"""Workloads of at least so many hours have one node outage a day: a gateway is cut off from the log with events in its
spool, stays away (its neighbours serve), and sends them when it is back."""
OUTAGE_CUT_S: Final = 600
"""Longest time that a node that is cut off goes on serving; assumed. Less at high rates: SPOOL_EVENTS."""
SPOOL_EVENTS: Final = 200_000
"""So many events wait in a spool at most: it bounds the generator's memory."""
SKEW_S: Final = (0.4, 20.0)
"""Clocks of gateways are off by at most the first number of seconds either way, but one of them by the second, ahead.
The log accepts up to 5 minutes ahead."""

FAILURES: Final = (
    (400, "context_length_exceeded"), (429, "rate_limited"), (500, "engine_error"), (503, "overloaded"), (504, "timeout"),
)  # fmt: skip
"""HTTP status and error type of failed requests, equally often; assumed."""
REFUSED: Final = (400, 429, 503)
"""Refused before the engine: no tokens are counted."""

EXPONENTIAL: Final[Knots] = (
    (0, 0), (0.1, 0.105), (0.25, 0.288), (0.5, 0.693), (0.75, 1.386), (0.9, 2.303), (0.97, 3.507), (0.999, 6.908), (1, 8)
)  # fmt: skip
"""Quantiles of the exponential distribution with mean 1. A table, so that every machine draws the same numbers."""


@dataclass(frozen=True, slots=True)
class GpuType:
    """A kind of GPU. `work_per_s` is what one GPU does per second when busy, in output-token equivalents (see WORK_*)."""

    name: str
    memory_mib: int
    tdp_w: float
    work_per_s: float
    decode_tokens_per_s: float
    """What one user sees, in tokens per second; assumed, around the 50 of InferenceMAX v1."""
    prefill_tokens_per_s: float
    """Input tokens read per second before the first output token; assumed."""


# Published throughput is the best of a tuned benchmark; a quarter of it is served on average (assumed, 10 to 30 %).
B200: Final = GpuType("B200", 183_359, 1_000.0, 2_500.0, 75.0, 30_000.0)
"""1,000 W, 180 GB usable (vendor). Llama 3.3 70B at 10,000 tokens/s, InferenceMAX v1."""
H200: Final = GpuType("H200", 143_771, 700.0, 625.0, 50.0, 10_000.0)
"""700 W, 141 GB (vendor). Llama 3.3 70B at a quarter of B200, InferenceMAX v1."""
H100: Final = GpuType("H100", 81_559, 700.0, 440.0, 40.0, 8_000.0)
"""700 W, 80 GB (vendor). Throughput: that of H200 scaled by memory bandwidth, 4.8 to 3.35 TB/s."""
GPU_TYPES: Final = (B200, H200, H100)

WORK_UNIT: Final = 100
"""Work is counted in hundredths of an output token, as whole numbers."""
WORK_PER_OUTPUT: Final = 100
WORK_PER_UNCACHED_INPUT: Final = 10
WORK_PER_CACHED_INPUT: Final = 1
WORK_PER_TRAINING: Final = 30
"""Cost of a token: reading input is about ten times cheaper than writing output, the cache again, and training is three
times reading (forward, backward); assumed."""
TRAINING_GPUS: Final = 4
"""A fine-tuning job takes half of this many GPUs, or half of all of its type; assumed."""
LOADED_SPEED: Final = 0.6
"""Speed of one request on a full GPU relative to an empty one; assumed."""

TARGET_UTILISATION: Final = 0.6
"""The fleet is as large as this mean utilisation needs: between the 60 and 70 % with which GPU-hours and tokens are
usually compared."""
HIGHEST_UTILISATION: Final = 0.95
"""A fleet of a given size may be as small as this mean utilisation needs."""
IDLE_POWER_SHARE: Final = 0.12
"""Power of an idle GPU as a share of its maximum: 10 to 15 %, assumed."""
