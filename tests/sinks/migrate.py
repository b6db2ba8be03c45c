"""Creating the tables."""

from __future__ import annotations

from importlib.resources import files

from infra.clickhouse import connect
from infra.config import Settings


def migrate(settings: Settings) -> None:
    client = connect(settings.clickhouse, database="")
    client.command(f"CREATE DATABASE {settings.clickhouse.database}")
    client.close()
    client = connect(settings.clickhouse)
    for path in sorted(files("infra").joinpath("sql").iterdir(), key=lambda each: each.name):
        text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("--"))
        for statement in text.split(";"):
            if statement.strip():
                client.command(statement)
    client.close()
