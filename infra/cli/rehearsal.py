"""What would be sent: totals by tenant and model and by class, without a broker."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from infra.cli.output import console, print_json, table, working
from producers.trace import Trace
from producers.workload import TokenTotals, Workload
from producers.workload.figures import CLASSES
from producers.workload.fleet import Gpu
from producers.workload.live import LiveWorkload
from schemas.source_rejects import SourceReject

_FIRST_S = 60
_SHOWN = 40
_COUNTING = "counting what would be sent"
_MEASURES = {
    "requests": "id",
    "input": "input_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write": "cache_write_input_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_output_tokens",
    "training": "training_tokens",
}
_CLASS_OF = {(each.operation, each.endpoint): each.name for each in CLASSES}
Totals = Mapping[tuple[str, str], TokenTotals]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would be sent. `events` are all rows, `duplicates` those among them that come again."""

    what: str
    events: int
    duplicates: int
    malformed_rows: int
    by_tenant_model: Totals
    by_class: Mapping[str, TokenTotals]
    gpus: list[Gpu]

    def show(self, *, as_json: bool) -> None:
        """Print it: tables for a person, or JSON."""
        if as_json:
            print_json(self._json())
            return
        console.print(f"{self.what}: {self.events:,} events, {self.duplicates:,} of them sent twice", soft_wrap=True)
        if self.malformed_rows:
            console.print(f"{self.malformed_rows:,} malformed rows, which become dead letters", soft_wrap=True)
        if self.gpus:
            console.print(_fleet(self.gpus), soft_wrap=True)
        if self.by_class:
            self._table("Classes", "class", {(name,): total for name, total in self.by_class.items()})
        self._table("Tenants and models", "tenant", {(*pair,): total for pair, total in self.by_tenant_model.items()})

    def _table(self, title: str, first: str, totals: Mapping[tuple[str, ...], TokenTotals]) -> None:
        names = [first] + (["model"] if any(len(key) > 1 for key in totals) else [])
        made = table(
            title, *names, "requests", "input\ntokens", "cached", "output\ntokens", "training", text=("model",)
        )
        for key, total in list(totals.items())[:_SHOWN]:
            numbers = (total.requests, total.input, total.cache_read, total.output, total.training)
            made.add_row(*key, *(f"{number:,}" for number in numbers))
        console.print()
        console.print(made)
        if len(totals) > _SHOWN:
            console.print(f"and {len(totals) - _SHOWN:,} more: --json has them all")

    def _json(self) -> dict[str, object]:
        return {
            "what": self.what,
            "events": self.events,
            "duplicates": self.duplicates,
            "malformed_rows": self.malformed_rows,
            "gpus": len(self.gpus),
            "by_class": {name: asdict(total) for name, total in self.by_class.items()},
            "by_tenant_model": [
                {"tenant": tenant, "model": model, **asdict(total)}
                for (tenant, model), total in self.by_tenant_model.items()
            ],
        }


@dataclass(slots=True)
class _Tally:
    """Sums over rows of TokenUsage."""

    rows: int = 0
    by_tenant_model: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    by_class: dict[tuple[str, ...], list[int]] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch) -> None:
        """Count these rows."""
        self.rows += batch.num_rows
        for keys, sums in (
            (("tenant_id", "response_model"), self.by_tenant_model),
            (("operation", "endpoint"), self.by_class),
        ):
            for group, values in _grouped(batch, keys):
                have = sums.setdefault(group, [0] * len(values))
                for place, value in enumerate(values):
                    have[place] += value


def of_workload(workload: Workload) -> Rehearsal:
    """A workload of a given size."""
    with working(_COUNTING):
        expected = workload.expected()
    return Rehearsal(
        f"{workload.requests:,} requests from {workload.start:%Y-%m-%d %H:%M} UTC over {workload.hours} h",
        expected.offered,
        expected.duplicates,
        0,
        expected.by_tenant_model,
        expected.by_class,
        workload.fleet,
    )


def of_live(workload: LiveWorkload, total: int | None) -> Rehearsal:
    """A workload that follows the clock: all of it, or its first minute if it has no end."""
    wanted = int(workload.rate * _FIRST_S) if total is None else total
    tally, seen, duplicates = _Tally(), set[str](), 0
    with working(_COUNTING):
        for stretch in workload.stretches():
            if tally.rows >= wanted:
                break
            batch = stretch.events.slice(0, wanted - tally.rows)
            ids = batch.column("id").to_pylist()
            before = len(seen)
            seen.update(ids)
            duplicates += len(ids) - (len(seen) - before)
            tally.add(batch)
    part = " in the first minute" if total is None else ""
    return _of_tally(f"{workload.rate:g} events per second{part}", tally, 0, duplicates, workload.engine.fleet)


def of_trace(trace: Trace) -> Rehearsal:
    """A trace."""
    tally, malformed = _Tally(), 0
    with working(_COUNTING):
        for item in trace:
            if isinstance(item, SourceReject):
                malformed += 1
            else:
                tally.add(item)
    return _of_tally(f"{trace.path.name} ({trace.format.name})", tally, malformed, 0, [])


def _of_tally(what: str, tally: _Tally, malformed: int, duplicates: int, gpus: list[Gpu]) -> Rehearsal:
    pairs = {(key[0], key[1]): TokenTotals(*sums) for key, sums in sorted(tally.by_tenant_model.items())}
    order = list(_CLASS_OF)
    found = sorted(tally.by_class.items(), key=lambda each: order.index((each[0][0], each[0][1])))
    classes = {_CLASS_OF[key[0], key[1]]: TokenTotals(*sums) for key, sums in found}
    return Rehearsal(what, tally.rows + malformed, duplicates, malformed, pairs, classes, gpus)


def _grouped(batch: pa.RecordBatch, keys: tuple[str, str]) -> Iterable[tuple[tuple[str, ...], list[int]]]:
    names = [*keys, *_MEASURES.values()]
    texts = [pc.cast(batch.column(name), pa.string()) for name in keys]
    columns = texts + [batch.column(name) for name in _MEASURES.values()]
    sums = [(name, "count" if name == "id" else "sum") for name in _MEASURES.values()]
    found = pa.Table.from_arrays(columns, names=names).group_by(list(keys)).aggregate(sums)
    for row in found.to_pylist():
        yield tuple(row[name] for name in keys), [row[f"{name}_{how}"] for name, how in sums]


def _fleet(gpus: list[Gpu]) -> str:
    shared: dict[str, int] = {}
    for gpu in gpus:
        if gpu.shared_slices:
            shared[gpu.gpu_type.name] = shared.get(gpu.gpu_type.name, 0) + 1
    rest = len(gpus) - sum(shared.values())
    kinds = ", ".join(f"{count:,} {name}" for name, count in shared.items())
    return f"{len(gpus):,} GPUs: {kinds} serve, {rest} are rented or idle"
