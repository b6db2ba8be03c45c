"""Which session and turn a request is: found from its number alone, so that no session has to be remembered.

The requests of a class go round over as many users as it takes for a user's turns to be TURN_GAP_S apart. What one user
asks is cut into frames of SESSION_FRAME requests, and a frame into sessions by one of the class's patterns (`turns`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from producers.workload.draws import Ints, Stream, Words, mixed
from producers.workload.figures import SESSION_FRAME, RequestClass

Small = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Turns:
    """Per request: its turn from 0, how many turns its session has, and 64 bits that stand for the session."""

    turn: Small
    length: Small
    session: Words


class SessionPlan:
    """The sessions of one class; `users` are at it at any time."""

    def __init__(self, seed: int, number: int, kind: RequestClass, users: int) -> None:
        self.users = users
        self._salt = Stream(seed, "sessions", number).words(1)[0]
        of_pattern = [_pattern(lengths) for lengths in kind.turns]
        # Patterns are a power of two, so that bits choose one.
        self._patterns = len(of_pattern)
        self._turn, self._length, self._part = (
            np.concatenate([pattern[which] for pattern in of_pattern]) for which in range(3)
        )

    def turns(self, first: int, count: int) -> Turns:
        """The sessions of requests `first` to `first` + `count` of the class."""
        number = np.arange(first, first + count, dtype=np.int64)
        rounds = number // self.users
        user = number - rounds * self.users
        # Users are at different places of their frames when the workload starts.
        place = rounds + (user * 7919) % SESSION_FRAME
        frame = mixed(
            (user.astype(np.uint64) << np.uint64(24)) + (place // SESSION_FRAME).astype(np.uint64) + self._salt
        )
        pattern = (frame % np.uint64(self._patterns)).astype(np.int64)
        at = pattern * SESSION_FRAME + place % SESSION_FRAME
        return Turns(self._turn[at], self._length[at], mixed(frame + self._part[at]))


def _pattern(lengths: tuple[int, ...]) -> tuple[Ints, Ints, Words]:
    """Turn, length and number of the session for each place of a frame."""
    turn = np.concatenate([np.arange(length) for length in lengths])
    length = np.repeat(lengths, lengths).astype(np.int64)
    part = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths)
    return turn, length, part
