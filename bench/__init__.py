"""Throughput of the parts on one broker, beside a plain per-event Faust agent. Run it with `make bench`."""
