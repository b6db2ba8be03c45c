"""The jars of Apache Kafka, fetched once with Maven into a cache, and whether this machine can run them."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.resources
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from infra.errors import EmbeddedError

KAFKA_VERSION = "4.3.1"
JARS_VARIABLE = "TOKENMILL_KAFKA_JARS"
_LOWEST_JAVA = 17
# The plugin's version is part of the recipe: without it an old Maven takes one that leaves jars out.
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies"


def jars_dir() -> Path:
    """Where the jars are or will be: `TOKENMILL_KAFKA_JARS`, else a cache in the user's home."""
    given = os.environ.get(JARS_VARIABLE, "").strip()
    if given:
        return Path(given).expanduser()
    cache_home = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(cache_home) if cache_home else Path.home() / ".cache") / "tokenmill" / f"kafka-{KAFKA_VERSION}"


def java() -> str | None:
    """The `java` of JAVA_HOME, else the one on the path; None without one."""
    home = os.environ.get("JAVA_HOME", "").strip()
    candidate = Path(home) / "bin" / "java"
    return str(candidate) if home and candidate.is_file() else shutil.which("java")


@cache
def _java_version(executable: str) -> int | None:
    try:
        shown = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(\d+)', shown.stderr + shown.stdout)
    return int(match[1]) if match else None


def apache_available() -> str | None:
    """None when Apache Kafka can be run here, else the reason why not, as one phrase."""
    executable = java()
    if executable is None:
        return f"no java on the path (Apache Kafka {KAFKA_VERSION} needs Java {_LOWEST_JAVA} or newer)"
    version = _java_version(executable)
    if version is None or version < _LOWEST_JAVA:
        return f"{executable} is Java {version or '(unknown)'}, Apache Kafka {KAFKA_VERSION} needs {_LOWEST_JAVA}"
    if not _complete(jars_dir()) and shutil.which("mvn") is None:
        return f"no mvn on the path to fetch Apache Kafka's jars with, and none in {jars_dir()}"
    return None


def _complete(directory: Path) -> bool:
    return (directory / f"kafka_2.13-{KAFKA_VERSION}.jar").is_file()


def fetch_jars() -> Path:
    """The directory with the jars, after fetching them (44 MB, some seconds) when they are not there yet.

    Several processes may call it at once. Raises EmbeddedError `no_jars` when Maven fails.
    """
    directory = jars_dir()
    if _complete(directory):
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory.with_name(directory.name + ".lock")):
        if not _complete(directory):
            _fetch_into(directory)
    return directory


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch_into(directory: Path) -> None:
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".kafka-jars-") as scratch:
        work = Path(scratch)
        pom = importlib.resources.files("infra.embedded").joinpath("apache-kafka-pom.xml").read_text()
        (work / "pom.xml").write_text(pom)
        command = ["mvn", "-q", "-B", _COPY, "-DincludeScope=runtime", "-DoutputDirectory=libs"]
        try:
            done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=600, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmbeddedError(f"cannot fetch Apache Kafka's jars with mvn: {error}", code="no_jars") from error
        libs = work / "libs"
        if done.returncode != 0 or not _complete(libs):
            problems = [line for line in done.stdout.splitlines() if "ERROR" in line] or [done.stderr.strip()]
            raise EmbeddedError(f"mvn could not fetch Apache Kafka's jars: {problems[0][:400]}", code="no_jars")
        # Whole or not at all: the directory appears under its name only when every jar is in it.
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
        libs.rename(directory)
