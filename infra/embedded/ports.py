"""Free TCP ports for embedded parts."""

from __future__ import annotations

import errno
import random
import socket
import threading

# Below the range from which the system takes ports for outgoing connections (32768 up): a port from that range can be
# taken by somebody's client socket between our test and the server's bind.
_LOWEST, _HIGHEST = 15_000, 32_767
_given: set[int] = set()
_lock = threading.Lock()


def free_port(host: str = "127.0.0.1") -> int:
    """A port on `host` that can be bound now; the same one is not given twice by this process.

    Another process may still take it: who binds it must be ready to ask again. Raises OSError when none is free.
    """
    with _lock:
        for port in random.sample(range(_LOWEST, _HIGHEST + 1), 1000):
            if port not in _given and _can_bind(host, port):
                _given.add(port)
                return port
    raise OSError(errno.EADDRINUSE, f"no free port from {_LOWEST} to {_HIGHEST} on {host}")


def _can_bind(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def accepts(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False
