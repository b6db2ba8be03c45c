"""Formatting the data directory of a Kafka node.

Kafka's own tool takes a JVM and seconds per node. What it writes is two files: `bootstrap.checkpoint`, the feature
levels of this Kafka version, the same for every node; and `meta.properties` with the ids. So the tool runs once, its
checkpoint is kept beside the jars, and later nodes get a copy.
"""

from __future__ import annotations

import base64
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from infra.embedded.process import ChildProcess, plain_environment
from infra.errors import EmbeddedError

_CHECKPOINT = "bootstrap.checkpoint"


def is_formatted(data: Path) -> bool:
    """Whether `data` belongs to a node already."""
    return (data / "meta.properties").is_file()


def new_cluster_id() -> str:
    """22 characters that Kafka takes as an id; a leading '-' would look like a flag to its tools."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def format_node(number: int, directory: Path, cluster_id: str, libs: Path, java_command: Sequence[str]) -> None:
    """Format `directory`/data for node `number`, whose properties are in `directory`/server.properties.

    Raises EmbeddedError `embedded_start` when Kafka's tool fails.
    """
    data = directory / "data"
    template = libs / _CHECKPOINT
    if not template.is_file():
        _run_tool(number, directory, cluster_id, java_command)
        scratch = libs / f".{_CHECKPOINT}.{os.getpid()}"
        shutil.copyfile(data / _CHECKPOINT, scratch)
        scratch.replace(template)
        return
    data.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(template, data / _CHECKPOINT)
    ids = {"version": "1", "cluster.id": cluster_id, "node.id": str(number), "directory.id": new_cluster_id()}
    # Last, because this file is what says that the directory is formatted.
    (data / "meta.properties").write_text("".join(f"{name}={value}\n" for name, value in ids.items()))


def _run_tool(number: int, directory: Path, cluster_id: str, java_command: Sequence[str]) -> None:
    properties = str(directory / "server.properties")
    process = ChildProcess(
        f"the formatting of Kafka node {number}",
        [*java_command, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", properties],
        log=directory / "format.log",
        environ=plain_environment("JAVA_HOME"),
    )
    if process.wait(60) != 0:
        process.kill()
        raise EmbeddedError(f"{process.name} failed: {process.log_tail()}", code="embedded_start")
