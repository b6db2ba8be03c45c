"""`python -m infra.embedded.clickhouse --port 8123 --data DIR`: the embedded ClickHouse in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.embedded.clickhouse.service import serve
from infra.errors import TokenmillError
from infra.logs import configure_logging

PASSWORD_VARIABLE = "TOKENMILL_EMBEDDED_CLICKHOUSE_PASSWORD"  # noqa: S105 -- the name of a variable, not a password


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.embedded.clickhouse", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0 takes a free one")
    parser.add_argument("--data", type=Path, required=True, help="directory that keeps the data")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--user", default="default", help=f"the user; the password is read from {PASSWORD_VARIABLE}")
    parser.add_argument("--concurrency", type=int, default=32, help="queries that run at once (default 32)")
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--end-with-parent", action="store_true", help="stop when the starting process is gone")
    given = parser.parse_args(arguments)
    configure_logging(given.log_level)
    try:
        serve(
            port=given.port,
            data=given.data,
            host=given.host,
            user=given.user,
            password=os.environ.get(PASSWORD_VARIABLE, ""),
            concurrency=given.concurrency,
            end_with_parent=given.end_with_parent,
        )
    except TokenmillError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
