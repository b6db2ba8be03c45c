"""How many tokens: lengths from quantile tables, contexts that grow within a session, and what the prefix cache holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from producers.workload.draws import TABLE_BITS, Ints, Shorts, Stream, Words, quantile_table
from producers.workload.figures import AGENT, CACHE_BLOCK_TOKENS, CLASSES, REASONING_SHARE
from producers.workload.sessions import SessionPlan

if TYPE_CHECKING:
    from producers.workload.requests import Requests

_AGENT = CLASSES.index(AGENT)


class TokenMaker:
    """Tokens and sessions of one class, chunk after chunk; remembers the newest turn of each of its users."""

    def __init__(self, seed: int, number: int, users: int) -> None:
        self._seed, self._number, self._kind = seed, number, CLASSES[number]
        self._plan = SessionPlan(seed, number, self._kind, users)
        self._inputs = np.maximum(quantile_table(self._kind.input_tokens), 1)
        self._outputs = quantile_table(self._kind.output_tokens)
        self._cached = None if self._kind.cached is None else quantile_table(self._kind.cached, 2.0**TABLE_BITS)
        self._kept = int(self._kind.kept * 2**TABLE_BITS)
        self._reasoning = int(REASONING_SHARE * 2**TABLE_BITS)
        self._made = 0
        self._newest = np.zeros(users, dtype=np.int64)
        """Context after the newest turn of each user, in tokens; from the one whose turn is next."""

    def fill(self, made: Requests, rows: slice, chunk: int, model_of: Callable[[Words], tuple[Ints, Ints]]) -> None:
        """Sessions, models and tokens of these rows, which are the next ones of the class."""
        count = rows.stop - rows.start
        turns = self._plan.turns(self._made, count)
        self._made += count
        made.session[rows] = turns.session
        made.deployment[rows], made.model[rows] = model_of(turns.session)
        draws = Stream(self._seed, "tokens", self._number, chunk).shorts(4 * count).reshape(4, count)
        # A turn's place among the quantiles rises with its number: contexts grow, and lengths of all turns together
        # have the distribution of the table.
        inputs = self._inputs[((turns.turn << TABLE_BITS) + draws[0]) // turns.length]
        if self._kind.trains:
            made.training_tokens[rows] = inputs
            return
        outputs = self._outputs[draws[1]]
        made.input_tokens[rows], made.output_tokens[rows] = inputs, outputs
        before = self._contexts(inputs + outputs)
        made.cached_tokens[rows] = self._read_from_cache(inputs, before, turns.turn, draws[2])
        share = draws[3].astype(np.int64) * self._reasoning >> TABLE_BITS
        reasoning = outputs * share >> TABLE_BITS
        made.reasoning_tokens[rows] = reasoning * (made.model[rows] % 2)
        if self._number == _AGENT:
            made.written_tokens[rows] = _blocks(inputs - made.cached_tokens[rows])

    def fill_again(self, made: Requests, rows: Ints, stream: Stream) -> None:
        """Tokens of second attempts: nothing is in the cache."""
        draws = stream.shorts(2 * len(rows)).reshape(2, len(rows))
        if self._kind.trains:
            made.training_tokens[rows] = self._inputs[draws[0]]
            return
        made.input_tokens[rows] = self._inputs[draws[0]]
        made.output_tokens[rows] = self._outputs[draws[1]]
        made.reasoning_tokens[rows] = made.output_tokens[rows] // 3 * (made.model[rows] % 2)

    def _contexts(self, after: Ints) -> Ints:
        """For each row, the context after its user's turn before; `after` is that after the row itself."""
        both = np.concatenate((self._newest, after))
        self._newest = both[len(after) :]
        return both[: len(after)]

    def _read_from_cache(self, inputs: Ints, before: Ints, turn: Ints, draw: Shorts) -> Ints:
        """Input tokens that the prefix cache serves, in whole blocks; at least one token is always computed."""
        if self._cached is not None:
            return _blocks((inputs * self._cached[draw]) >> TABLE_BITS)
        kept = (turn > 0) & (draw < self._kept)
        found = np.where(kept, before, self._kind.prefix_tokens)
        return _blocks(np.minimum(found, inputs - 1))


def written_to_cache(kind: Ints, inputs: Ints, cached: Ints) -> Ints:
    """Agents ask for their input to be kept: the whole blocks that were not in the cache are written (assumed)."""
    return np.where(kind == _AGENT, _blocks(inputs - cached), 0)


def _blocks(tokens: Ints) -> Ints:
    """Only whole blocks of the cache."""
    return tokens // CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS
