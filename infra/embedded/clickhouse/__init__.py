"""The embedded ClickHouse: chDB (the ClickHouse engine in a library) behind ClickHouse's own HTTP protocol.

One process owns a data directory; every client (`curl`, clickhouse-connect, a BI tool) talks to it as to a server.

    python -m infra.embedded.clickhouse --port 8123 --data .tokenmill/clickhouse

From Python: `serve(...)` runs it in the foreground, `EmbeddedClickHouse` starts and stops it as a child process.
Nothing here imports chDB before the owner process itself starts it.

Modules, from the outside in: `process` (child process), `service` (owner process: lock, signals), `server` (HTTP),
`request` and `forms` (what a request asks), `bodies`, `compression`, `native_blocks`, `cityhash` (bodies), `formats`
(content types), `execution` (one request), `sql` (where a statement ends and its data begin), `guard` (what SQL may not
reach), `sessions`, `engine` (chDB), `errors` (codes, texts, HTTP status).
"""

from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.embedded.clickhouse.service import serve

__all__ = ["EmbeddedClickHouse", "serve"]
