"""Bounds that `tokenmill up` keeps: the memory of a broker that holds its log in it, and the size of log files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from infra.errors import EmbeddedError

LOG_BYTES = 16 * 1024 * 1024
"""A log file that has grown to this is put aside as `.1`, in the place of the one before."""


def memory_bytes(pid: int) -> int | None:
    """The resident memory of a process, None when it cannot be told."""
    status = Path(f"/proc/{pid}/status")
    try:
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return _memory_by_ps(pid)
    return None


def _memory_by_ps(pid: int) -> int | None:
    try:
        shown = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=True
        )
        return int(shown.stdout) * 1024
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def check_memory(pid: int, limit: int) -> None:
    """Raise EmbeddedError `log_too_large` when the embedded broker has more than `limit` bytes."""
    used = memory_bytes(pid)
    if used is not None and used > limit:
        raise EmbeddedError(
            f"the log of the embedded broker has grown to {readable(used)}, the limit is {readable(limit)}: it is in memory "
            "and only grows. Start again with --reset, allow more with --log-limit, or use --broker apache, which keeps "
            "its log on disk",
            code="log_too_large",
            bytes=used,
            limit=limit,
        )


def bound_log(log: Path, limit: int = LOG_BYTES) -> bool:
    """Put a log aside when it has become too large; whether it was.

    The process goes on writing to the same file: it is copied and cut, and a line written in that moment may be lost.
    """
    try:
        if log.stat().st_size < limit:
            return False
        shutil.copyfile(log, log.with_name(log.name + ".1"))
        with log.open("r+b") as file:
            file.truncate(0)
    except FileNotFoundError:
        return False
    return True


def readable(size: int) -> str:
    """Bytes for people: `1.5 GiB`."""
    number, unit = float(size), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
