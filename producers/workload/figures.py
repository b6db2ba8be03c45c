"""The figures that the synthetic workload is made of, each with its source. Nothing here is computed.

Sources: Azure LLM inference traces 2023 (Patel et al., Splitwise, ISCA 2024; CC-BY 4.0) and 2024 (Stojkovic et al.,
DynamoLLM, HPCA 2025; CC-BY 4.0; hourly shapes read off published figures); Mooncake traces (FAST 2025); BurstGPT
(HPMLL/BurstGPT); vendors' data sheets and InferenceMAX v1 for GPUs. "Assumed" marks what no source states.

A table of knots ((x, y), ...) is read with straight lines between the knots; for a quantile table x is the share of
requests whose value is at most y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Knots = tuple[tuple[float, float], ...]

_SHARES: Final = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1)


def _quantiles(*values: int) -> Knots:
    return tuple(zip(_SHARES, values, strict=True))


@dataclass(frozen=True, slots=True)
class RequestClass:
    """One kind of traffic: its share of requests, its lengths, its caching, and when it comes.

    `cached` is a quantile table of the share of input tokens that the prefix cache serves. `per_minute` are knots of
    (hour of day in UTC, relative rate), `weekend` scales them on Saturday and Sunday. `on_off` are the mean seconds of
    bursts and pauses, None where requests come steadily. `turns` is the mean number of requests of a session.
    """

    name: str
    share: float
    input_tokens: Knots
    output_tokens: Knots
    cached: Knots
    per_minute: Knots
    weekend: float
    on_off: tuple[float, float] | None
    endpoint: str
    operation: str
    streamed: float
    turns: int


CHAT: Final = RequestClass(
    name="chat",
    share=0.60,
    # Azure 2023, conversation.
    input_tokens=_quantiles(2, 29, 181, 207, 387, 403, 703, 1020, 1071, 1130, 1315, 2734, 4083, 4142, 6179, 14050),
    output_tokens=_quantiles(7, 16, 41, 54, 77, 91, 103, 129, 177, 384, 400, 424, 451, 601, 954, 1000),
    # Assumed: half of the chats begin with a prompt that is not in the cache.
    cached=((0, 0), (0.5, 0), (0.75, 0.3), (1, 0.8)),
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
    turns=4,  # assumed
)
CODE: Final = RequestClass(
    name="code",
    share=0.25,
    # Azure 2023, code.
    input_tokens=_quantiles(3, 17, 75, 147, 386, 770, 1075, 1469, 1909, 2433, 3192, 5188, 7303, 7436, 7437, 7437),
    output_tokens=_quantiles(6, 6, 6, 7, 8, 9, 11, 13, 16, 20, 29, 55, 90, 251, 825, 1899),
    # Mooncake, synthetic: 55 % of requests hit nothing, the others nearly everything.
    cached=((0, 0), (0.55, 0), (0.56, 0.96), (1, 0.98)),
    # Azure 2024, code, a weekday.
    per_minute=((0, 2300), (2, 1700), (8, 450), (11, 450), (15, 4000), (17, 3600), (19, 5200), (24, 2300)),
    weekend=0.25,
    on_off=(16.7, 43.0),  # Azure 2023: mean seconds of bursts and of pauses
    endpoint="/v1/completions",
    operation="completion",
    streamed=0.95,  # assumed
    turns=12,  # assumed
)
AGENT: Final = RequestClass(
    name="agent",
    share=0.15,
    # Mooncake, conversation.
    input_tokens=_quantiles(
        891, 894, 901, 964, 1662, 3263, 4993, 6909, 9570, 13196, 17869, 27367, 39550, 85400, 121301, 126195
    ),
    output_tokens=_quantiles(1, 3, 10, 24, 100, 213, 291, 350, 399, 447, 504, 597, 698, 1119, 2000, 2000),
    # Mooncake, conversation: share of each request's input that a cache without bounds serves.
    cached=((0, 0), (0.25, 0.07), (0.5, 0.36), (0.75, 0.71), (0.9, 0.95), (1, 0.98)),
    per_minute=((0, 1), (24, 1)),  # BurstGPT, API traffic: flat in the mean
    weekend=1.0,
    on_off=None,
    endpoint="/v1/responses",
    operation="chat",
    streamed=0.2,  # assumed
    turns=8,  # assumed
)
CLASSES: Final = (CHAT, CODE, AGENT)

CACHE_BLOCK_TOKENS: Final = 16
"""The prefix cache works in blocks of this many tokens (vLLM's default)."""

TENANT_ZIPF: Final = 1.1
"""Tenant k has a share of requests in proportion to k^-1.1."""
MODEL_ZIPF: Final = 0.8
"""Likewise for models; assumed."""

FAILED_SHARE: Final = 0.03
"""BurstGPT: 1.8, 1.9 and 7.3 % of the requests of its three files have no response."""
RETRIED_SHARE: Final = 0.015
"""Second attempts among all requests: 1 to 2 %, assumed."""
ABORTED_SHARE: Final = 0.01
"""The client goes away before the last token; assumed."""
DUPLICATE_SHARE: Final = 0.005
"""Events sent twice, 0.1 to 1 %, assumed."""
VERY_LATE_SHARE: Final = 0.0001
"""Events that reach the log between VERY_LATE_S after their time; assumed."""
VERY_LATE_S: Final = (3_600.0, 10_800.0)
DELAY_S: Final[Knots] = ((0, 0.05), (0.5, 0.5), (0.9, 4), (0.99, 60), (0.999, 300), (1, 900))
"""Seconds from the end of a request to the log for all others: median 0.5, 99th percentile 60; assumed."""

FAILURES: Final = ((429, "rate_limited"), (500, "engine_error"), (503, "overloaded"), (504, "timeout"))
"""HTTP status and error type of failed requests, equally often; assumed. 429 and 503 are refused before the engine."""

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

WORK_PER_OUTPUT: Final = 1.0
WORK_PER_UNCACHED_INPUT: Final = 0.1
WORK_PER_CACHED_INPUT: Final = 0.01
"""Cost of a token relative to an output token: reading input is about ten times cheaper, the cache again; assumed."""

TARGET_UTILISATION: Final = 0.6
"""The fleet is as large as this mean utilisation needs: the share used in the comparison of DESIGN section 6."""
IDLE_POWER_SHARE: Final = 0.12
"""Power of an idle GPU as a share of its maximum: 10 to 15 %, assumed."""
