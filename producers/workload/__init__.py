"""The seeded synthetic workload: requests of an AI factory's tenants, and samples of the GPUs that served them.

A seed fixes every byte. Files: `figures` holds the measured numbers, `arrivals` when requests come, `requests` what each
one used, `delivery` in what order and how often events reach the log, `fleet` the GPUs, `samples` what the GPUs report,
`workload` the whole.
"""

from producers.workload.workload import Expected, TokenTotals, Workload

__all__ = ["Expected", "TokenTotals", "Workload"]
