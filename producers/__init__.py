"""What puts events into the log.

`emitter` sends batches (packed by `batching`) and says what was delivered; `control` publishes cards and assignments;
`trace` replays a real request trace (formats in `trace_formats`); `workload` makes a synthetic one; `rejected` is input
that is no event.
"""
