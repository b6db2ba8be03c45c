"""Checks of this machine: Python and packages, disk, memory, Java."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from infra.cli.doctor.check import Check, ok, problem, warning
from infra.config import Settings
from infra.embedded.apache_jars import apache_available

GIB: Final = 1024**3
_OLDEST_PYTHON: Final = (3, 11)
_FIRST_UNKNOWN_PYTHON: Final = (3, 14)
_FAUST: Final = "0.15.3"
_LITTLE_DISK: Final = 5 * GIB
_NO_DISK: Final = GIB
_WORKER_MEMORY: Final = GIB
"""What a worker needs beside its window of event ids (measured: 300 to 700 MiB)."""


def machine_checks(settings: Settings) -> Iterator[Check]:
    """Every check that needs neither Kafka nor ClickHouse."""
    yield python(sys.version_info[:3])
    yield packages()
    yield disk(settings.data_dir)
    yield memory(Path("/proc/meminfo"), settings.dedup_bytes)
    yield java()


def python(version: tuple[int, ...]) -> Check:
    """A version that we test with."""
    text = ".".join(map(str, version))
    if version[:2] < _OLDEST_PYTHON:
        return problem("Python", text, "install Python 3.11, 3.12 or 3.13")
    if version[:2] >= _FIRST_UNKNOWN_PYTHON:
        return warning("Python", f"{text}, which nobody has tried", "use Python 3.11, 3.12 or 3.13")
    return ok("Python", text)


def packages() -> Check:
    """Every package that we need is there, Faust in the one version that we know."""
    try:
        wanted = metadata.requires("tokenmill") or []
    except metadata.PackageNotFoundError:
        return problem("packages", "tokenmill is not installed", "pip install -r requirements.lock && pip install -e .")
    names = [re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0] for each in wanted if "extra ==" not in each]
    found = {name: version_of(name) for name in names}
    missing = sorted(name for name, version in found.items() if version is None)
    if missing:
        return problem("packages", f"missing: {', '.join(missing)}", "pip install -r requirements.lock")
    if found.get("faust-streaming", _FAUST) != _FAUST:
        return problem(
            "packages", f"faust-streaming {found['faust-streaming']}", f"pip install faust-streaming=={_FAUST}"
        )
    return ok("packages", f"all {len(found)} there, tokenmill {version_of('tokenmill')}")


def version_of(package: str) -> str | None:
    """The installed version, None without."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def disk(directory: Path) -> Check:
    """Room for embedded parts and spools."""
    there = directory.absolute()
    while not there.exists():
        there = there.parent
    usage = shutil.disk_usage(there)
    found = f"{size(usage.free)} of {size(usage.total)} free for {directory}"
    mend = "make room, or set TOKENMILL_DATA_DIR to a larger disk"
    if usage.free < _NO_DISK:
        return problem("disk", found, mend)
    return warning("disk", found, mend) if usage.free < _LITTLE_DISK else ok("disk", found)


def memory(meminfo: Path, dedup_bytes: int) -> Check:
    """Room for one worker with a full window of event ids."""
    try:
        available = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
    except OSError:
        available = None
    if available is None:
        return warning("memory", "this system does not say how much is free", "make sure of 2 GiB for each worker")
    free, wanted = int(available[1]) * 1024, dedup_bytes + _WORKER_MEMORY
    found = f"{size(free)} available, a worker may take {size(wanted)}"
    if free < wanted:
        return warning("memory", found, "lower TOKENMILL_DEDUP_BYTES, or run workers where there is more")
    return ok("memory", found)


def java() -> Check:
    """Only for `--broker apache`."""
    reason = apache_available()
    if reason is None:
        return ok("Java and Maven", "Apache Kafka can be run here (--broker apache)")
    return warning("Java and Maven", reason, "only needed for --broker apache: install a JDK 17 or newer, and Maven")


def size(number: float) -> str:
    """Bytes for people."""
    for unit, each in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if number >= each:
            return f"{number / each:,.1f} {unit}"
    return f"{number / 1024:,.0f} KiB"
