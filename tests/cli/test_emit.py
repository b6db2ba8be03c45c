"""`tokenmill emit`: what it would send, what it has sent, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli.outlet import Interrupt
from infra.cli.pacing import Limits
from infra.config import Settings, environment
from infra.kafka import watermarks
from infra.topics import apply
from producers.workload import Workload
from tests.cli.conftest import Run
from tests.conftest import MakeSettings
from tests.support import Broker

AZURE = ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46.68,100,10", "2023-11-16 18:15:47.1,oops,1"]


def test_a_dry_run_says_what_would_be_sent(tokenmill: Run) -> None:
    ended = tokenmill("emit", "--dry-run", "--requests", "2000", "--hours", "1", "--seed", "3", "--json")
    told, expected = json.loads(ended.out), Workload(seed=3, requests=2_000, hours=1).expected()
    assert told["events"] == expected.offered
    assert told["duplicates"] == expected.duplicates
    assert {(each["tenant"], each["model"]): each["input"] for each in told["by_tenant_model"]} == {
        pair: totals.input for pair, totals in expected.by_tenant_model.items()
    }
    assert {name: each["output"] for name, each in told["by_class"].items()} == {
        name: totals.output for name, totals in expected.by_class.items()
    }


def test_a_dry_run_of_a_rate_counts_the_first_minute_or_as_much_as_was_asked(tokenmill: Run) -> None:
    told = json.loads(tokenmill("emit", "--dry-run", "--rate", "10", "--json").out)
    assert told["events"] == 600
    told = json.loads(tokenmill("emit", "--dry-run", "--rate", "10", "--duration", "0.5m", "--json").out)
    assert told["events"] == 300
    assert sum(each["requests"] for each in told["by_tenant_model"]) == 300
    told = json.loads(
        tokenmill("emit", "--dry-run", "--rate", "50", "--requests", "200", "--profile", "code", "--json").out
    )
    assert (told["events"], list(told["by_class"])) == (200, ["code"])


def test_a_dry_run_of_a_trace_counts_its_malformed_rows(tokenmill: Run, tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("\n".join(AZURE))
    told = json.loads(tokenmill("emit", "--dry-run", "--trace", "trace.csv", "--json").out)
    assert (told["events"], told["malformed_rows"]) == (2, 1)
    assert [each["input"] for each in told["by_tenant_model"]] == [100]


def test_a_dry_run_fits_80_columns(tokenmill: Run) -> None:
    shown = tokenmill("emit", "--dry-run", "--requests", "3000", "--tenants", "30").out
    assert "Classes" in shown
    assert "and 79 more" in shown or "more: --json has them all" in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 100


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--trace", "t.csv", "--rate", "3"], "--rate: no effect with --trace"),
        (["--duration", "3s"], "--duration needs --rate"),
        (["--rate", "3", "--hours", "2"], "--hours has no effect with --rate: use --duration"),
        (["--rate", "3", "--duration", "3x"], "'3x' is not a duration such as 90s, 30m or 2h"),
        (["--rate", "3", "--duration", "0"], "'0' is not a duration"),
        (["--gpus", "1"], "1 GPUs are too few for this workload: it needs at least"),
        (["--rate", "2000", "--gpus", "9"], "9 GPUs are too few for this workload"),
        (["--requests", "60000000"], "requests must be from 1 to 50000000"),
        (["--profile", "nonsense"], "'nonsense' is not one of"),
        (["--late", "0.9"], "'--late': 0.9 is not in the range"),
    ],
)
def test_flags_that_cannot_work_are_refused(flags: list[str], said: str, tokenmill: Run) -> None:
    ended = tokenmill("emit", "--dry-run", *flags)
    assert ended.code == 2
    assert said in ended.err
    assert ended.out == ""


def test_limits_say_how_many_events_are_due() -> None:
    assert [Limits(None, None).due(3.0, elapsed) for elapsed in (0, 0.3, 0.34, 10)] == [0, 0, 1, 30]
    assert Limits(2.0, None).due(3.0, 10) == 6
    assert Limits(None, 4).due(3.0, 10) == 4
    assert (Limits(2.0, 4).total(3.0), Limits(2.0, None).total(3.0), Limits(None, None).total(3.0)) == (4, 6, None)


def test_the_first_signal_asks_and_the_second_ends() -> None:
    interrupt = Interrupt()
    assert not interrupt.wait(0)
    interrupt.note(signal.SIGINT, None)
    assert interrupt.wait(60)
    assert interrupt.signal == signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        interrupt.note(signal.SIGINT, None)


def _in_the_log(settings: Settings) -> int:
    ends = watermarks(settings, settings.topics.usage_events)
    return sum(high - low for low, high in ends.values())


@pytest.mark.kafka
def test_a_rate_is_held_and_everything_is_acknowledged(
    broker: Broker, make_settings: MakeSettings, tokenmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(broker)
    apply(settings)
    for name, text in environment(settings).items():
        monkeypatch.setenv(name, text)
    ended = tokenmill("emit", "--rate", "200", "--duration", "1.5s", "--gpus", "200", "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["events"] == 300
    assert told["acknowledged"] == told["events"] + told["samples"]
    assert (told["rejected"], told["unconfirmed"], told["reasons"], told["interrupted"]) == (0, 0, [], False)
    assert told["bytes"] > 10_000
    assert _in_the_log(settings) > 0


@pytest.mark.kafka
def test_ctrl_c_sends_what_is_under_way_and_says_what_was_confirmed(
    broker: Broker, make_settings: MakeSettings
) -> None:
    settings = make_settings(broker)
    apply(settings)
    command = [sys.executable, "-c", "from infra.cli.main import main; main()", "emit", "--rate", "50", "--json"]
    running = subprocess.Popen(
        command, env={**os.environ, **environment(settings)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        from tests.support import eventually

        eventually(lambda: _in_the_log(settings), 60, what="the first events in the log")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 130
    assert err == ""
    told = json.loads(out)
    assert told["interrupted"]
    assert told["events"] == told["acknowledged"] > 0
    assert told["unconfirmed"] == told["rejected"] == 0
