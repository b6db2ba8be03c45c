"""An embedded broker in the foreground: started, waited for, and ended by a signal."""

import signal
import threading
from pathlib import Path

from infra.embedded.tansu import TansuBroker
from infra.errors import EmbeddedError
from infra.logs import get_logger

log = get_logger(__name__)

_LOOK_S = 0.5


def run_broker(port: int, data_dir: Path) -> None:
    """Run the embedded broker on 127.0.0.1:`port` until SIGTERM or Ctrl-C.

    Raises EmbeddedError when it can't start or ends by itself.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with TansuBroker(data_dir, port=port) as broker:
        log.info("broker.listening", bootstrap=broker.bootstrap, log=str(broker.log))
        while not stop.wait(_LOOK_S):
            if broker.pid is None:
                raise EmbeddedError(
                    f"the embedded broker ended by itself; its log is {broker.log}", code="broker_ended"
                )
    log.info("broker.stopped")
