"""What `tokenmill up` runs in a data directory, so that other commands there find it by themselves."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from infra.config import PREFIX

NOTE = "up.json"
"""In the data directory: which broker the store follows and, while `up` runs and holds its lock, the variables that point
another process at what runs."""


def running_settings(data_dir: Path) -> dict[str, str]:
    """The settings of the `tokenmill up` that runs in this data directory, as texts by name; empty when none does."""
    try:
        with (data_dir / NOTE).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                noted = json.load(file)["environment"]
                return {name.removeprefix(PREFIX).lower(): str(text) for name, text in noted.items()}
    except (OSError, ValueError, KeyError, AttributeError):
        pass  # no note, or one that is being written: then nothing is found
    return {}
