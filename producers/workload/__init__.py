"""The seeded synthetic workload: requests of an AI factory's tenants, and samples of the GPUs that served them.

A seed fixes every byte. Files, in the order of the data: `figures` holds the measured numbers, `draws` the random bits,
`arrivals` when requests come, `sessions` who asks, `tokens` how much, `load` how busy the GPUs are, `requests` what each
request came to, `delivery` in what order and how often events reach the log, `events` their columns, `fleet` the GPUs,
`samples` what the GPUs report, `totals` the sums; `engine` makes it all chunk by chunk; `workload` is one of a given size,
`live` one that follows the clock.
"""

from producers.workload.shares import Faults
from producers.workload.totals import Expected, TokenTotals
from producers.workload.workload import Workload

__all__ = ["Expected", "Faults", "TokenTotals", "Workload"]
