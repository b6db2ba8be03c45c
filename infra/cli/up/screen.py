"""What a person, or a program, sees of `tokenmill up`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import orjson

from infra.cli.output import console, progress_console
from infra.supervisor import Died, Event, GaveUp, Started

if TYPE_CHECKING:
    from infra.cli.up.probes import Left

_NOT_SHOWN: Final = ("event", "level", "logger", "timestamp")
_LONGEST_LINE: Final = 300


@dataclass(frozen=True, slots=True)
class Place:
    """Something that runs: what it is called, where it listens, what is to be said about it, and where its log is."""

    name: str
    address: str
    remark: str
    log: Path | None


@dataclass(frozen=True, slots=True)
class Overview:
    """All that is shown when everything is ready."""

    places: tuple[Place, ...]
    environ: Mapping[str, str]
    environ_file: Path
    remarks: tuple[str, ...]


class Screen:
    """Shows what happens: lines for people, the result on standard output and the rest on standard error; or JSON lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def ready(self, overview: Overview) -> None:
        """Everything runs."""
        if self._as_json:
            self._line(
                "up.ready",
                places=[
                    {"name": place.name, "address": place.address, "log": None if place.log is None else str(place.log)}
                    for place in overview.places
                ],
                environment=dict(overview.environ),
                remarks=list(overview.remarks),
            )
            return
        console.print()
        width = max(len(place.name) for place in overview.places)
        for place in overview.places:
            console.print(f"[bold]{place.name:<{width}}[/]  {place.address}", soft_wrap=True)
            if place.remark:
                console.print(f"{'':<{width}}  [dim]{place.remark}[/]", soft_wrap=True)
        for remark in overview.remarks:
            console.print(f"\n{remark}")
        if overview.environ:
            console.print("\nCommands in this directory find it by themselves; another shell needs:", soft_wrap=True)
            for name, text in overview.environ.items():
                console.print(f"  export {name}={shlex.quote(text)}", markup=False, soft_wrap=True)
            console.print(f"  [dim]or: source {shlex.quote(str(overview.environ_file))}[/]", soft_wrap=True)
        console.print("\nCtrl-C stops everything.")

    def waiting(self, logs: Mapping[str, str]) -> None:
        """Some processes run and are not ready yet; `logs` by name."""
        for name, log in logs.items():
            if self._as_json:
                self._line("process.not_ready", name=name, log=log)
            else:
                self._say(f"{name} is not ready yet (log: {log})")

    def event(self, event: Event, log: str) -> None:
        """Something happened to a process."""
        if isinstance(event, Started):
            if self._as_json:
                self._line("process.started", name=event.name, pid=event.pid, attempt=event.attempt)
            elif event.attempt > 1:
                self._say(f"[green]{event.name} runs again[/]")
        elif isinstance(event, Died):
            if self._as_json:
                facts = {"how": event.how, "restart_in_s": event.wait_s, "last_lines": lines_of(event.tail)}
                self._line("process.died", name=event.name, log=log, **facts)
            else:
                self._say(f"[yellow]{event.name} {event.how}[/]: started again in {event.wait_s:g} s (log: {log})")
        elif self._as_json:
            facts = {"how": event.how, "why": event.why, "last_lines": lines_of(event.tail)}
            self._line("process.given_up", name=event.name, log=log, **facts)
        else:
            self._given_up(event)

    def _given_up(self, event: GaveUp) -> None:
        self._say(f"[red]{event.name} {event.how}[/]")
        lines = lines_of(event.tail)
        if lines:
            progress_console.print(f"  the last lines of {event.name}:")
        for line in lines:
            progress_console.print(f"    {line}", markup=False, soft_wrap=True)

    def stopping(self) -> None:
        """The end has begun."""
        if self._as_json:
            self._line("up.stopping")
        else:
            self._say("stopping; one more Ctrl-C ends everything at once")

    def stopped(self, killed: list[str], ended_s: Mapping[str, float], left: Left, *, log_is_gone: bool) -> None:
        """Nothing runs any more. `ended_s`: when each process was gone, in seconds since it began to stop."""
        if self._as_json:
            left_over = {"unrated": left.unrated, "unstored": left.unstored}
            self._line("up.stopped", killed=killed, ended_s=dict(ended_s), **left_over)
            return
        if killed:
            self._say(f"[yellow]killed, since it did not end in time: {', '.join(killed)}[/]")
        self._say("stopped")
        if not log_is_gone:
            return
        for number, what in ((left.unrated, "not rated"), (left.unstored, "not stored")):
            if number:
                self._say(f"[yellow]{number:,} records in the log were {what}: they are gone with it[/]")
        if left.unstored is None:
            self._say("[yellow]whether everything in the log was stored is not known[/]")

    @staticmethod
    def _say(text: str) -> None:
        progress_console.print(f"[dim]{datetime.now():%H:%M:%S}[/] {text}", soft_wrap=True)  # noqa: DTZ005 - for a person

    @staticmethod
    def _line(event: str, **facts: object) -> None:
        click.echo(orjson.dumps({"event": event, **facts}).decode())


def lines_of(tail: str) -> list[str]:
    """The last lines of a log for people: of a structured line what happened and why, any other as it is."""
    return [_readable(line) for line in tail.split(" | ") if line]


def _readable(line: str) -> str:
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    if not isinstance(said, dict) or "event" not in said:
        return line
    texts = {name: str(fact).strip() for name, fact in said.items() if name not in _NOT_SHOWN and fact is not None}
    facts = [f"{name}={text.splitlines()[-1]}" for name, text in texts.items() if text]
    time = str(said.get("timestamp", ""))[11:19]
    return f"{time} {said.get('level', '')} {said['event']} {' '.join(facts)}"[:_LONGEST_LINE].strip()
