"""The Faust application: the consumer group and the two agents. It keeps no table, no window, no commit of Faust's."""

import faust

from infra.config import Settings
from infra.kafka import MAX_MESSAGE_BYTES
from streams.broker import broker_credentials, broker_urls
from streams.gpu_meter import register_gpu_meter
from streams.rate import register_rate
from streams.transactions import group_id
from streams.transport import use_committed_only
from streams.worker import Worker

_BUFFERED_RECORDS = 1024
"""Records that Faust holds for an agent; a small buffer makes it pause for whole seconds (measured)."""
_NEVER_S = 10.0**9


def create_app(settings: Settings, worker: Worker) -> faust.App:
    """The application of one worker process, ready to be started; `worker` runs the partitions that it is assigned."""
    session_s = settings.session_timeout_s
    # Faust makes its directory, not its parents; nothing is kept in it.
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        group_id(settings),
        broker=broker_urls(settings),
        broker_credentials=broker_credentials(settings),
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / 4,
        broker_rebalance_timeout=max(60.0, session_s),
        broker_request_timeout=max(90.0, session_s * 2),
        broker_commit_interval=_NEVER_S,
        broker_max_poll_records=None,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=MAX_MESSAGE_BYTES + 64 * 1024,
        stream_buffer_maxsize=_BUFFERED_RECORDS,
        stream_wait_empty=False,
        processing_guarantee="at_least_once",
        store="memory://",
        datadir=str(settings.data_dir / "faust"),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.partitions,
    )
    use_committed_only(app)
    register_rate(app, settings, worker)
    register_gpu_meter(app, settings, worker)
    app.on_partitions_assigned.connect(worker.on_assigned)
    app.on_partitions_revoked.connect(worker.on_revoked)
    return app
