"""Mutation testing of the modules that decide about money: `python -m tests.mutation`.

Each mutant is one module with one expression changed; it is killed when a test goes red. Results are kept per module with
the hash of its source, so a run goes on where the last one ended and does again only what changed.
"""
