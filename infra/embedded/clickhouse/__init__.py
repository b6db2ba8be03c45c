"""The embedded ClickHouse: chDB (the ClickHouse engine in a library) behind ClickHouse's own HTTP protocol.

One process owns a data directory; every client (`curl`, clickhouse-connect, a BI tool) talks to it as to a server.

    python -m infra.embedded.clickhouse --port 8123 --data .tokenmill/clickhouse

From Python: `serve(...)` runs it in the foreground, `EmbeddedClickHouse` starts and stops it as a child process.
Nothing here imports chDB before the owner process itself starts it.

Modules: `process` (child process), `service` (owner process: lock, signals), `server` (HTTP), `request` (what a request
asks), `sql` (where a statement ends and its data begins), `engine` and `sessions` (chDB), `execution` (one request),
`results` (bodies and headers), `compression` and `native_blocks` (bodies), `errors` (codes, texts, HTTP status).
"""

from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.embedded.clickhouse.service import serve

__all__ = ["EmbeddedClickHouse", "serve"]
