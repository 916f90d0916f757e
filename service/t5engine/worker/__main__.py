"""Entry of a worker process: `python -m t5engine.worker FD CONFIG`, started by the engine."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from t5engine.config import WorkerConfig

if TYPE_CHECKING:
    from t5engine.worker.connection import Connection

LOAD_SECONDS = 600  # far more than any T5 takes from any disk


def main() -> None:
    """Pins the process, loads the model, and serves the connection until the service closes it."""
    # The terminal's Ctrl-C, its end, and a container's SIGTERM reach the whole process group. The
    # service ends a worker by closing the connection.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    config = msgspec.json.decode(sys.argv[2], type=WorkerConfig)
    if config.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, config.cpus)  # before OpenMP starts threads that inherit it

    # Imported late: llama_cpp loads libgomp, which reads the affinity.
    from t5engine.backend import BackendError  # noqa: PLC0415
    from t5engine.decoding.parameters import MAX_WIDTH  # noqa: PLC0415
    from t5engine.header import printable  # noqa: PLC0415
    from t5engine.messages import SPARE_ROWS, Ready, Unloadable  # noqa: PLC0415
    from t5engine.worker.connection import Connection  # noqa: PLC0415
    from t5engine.worker.job import InputRefused  # noqa: PLC0415
    from t5engine.worker.loop import Loop  # noqa: PLC0415
    from t5engine.worker.meter import CostMeter, calibrate  # noqa: PLC0415
    from t5engine.worker.model import (  # noqa: PLC0415
        LoadError,
        check_judged_tokens,
        check_separators,
        list_cpu_features,
        load_model,
    )
    from t5engine.worker.step import warm_up  # noqa: PLC0415
    from t5engine.worker.threads import choose_threads  # noqa: PLC0415

    with socket.socket(fileno=int(sys.argv[1])) as sock:
        connection, meter = Connection(sock), CostMeter(config.costs)
        deadline = threading.Timer(LOAD_SECONDS, give_up, (connection, config.model))
        deadline.daemon = True
        deadline.start()
        try:
            model = load_model(
                Path(config.model),
                threads=config.threads,
                max_input_tokens=config.max_input_tokens,
                max_tokens=config.max_tokens,
                logit_scale=config.logit_scale,
                backend=config.backend,
                rows=max(config.max_batch, MAX_WIDTH) + SPARE_ROWS,
                ggml_backends=Path(config.ggml_backends) if config.ggml_backends else None,
                kernels=config.kernels,
            )
            check_separators(model, config.separators)
            check_judged_tokens(model, config.judged_tokens)
            # llama.cpp's caches would keep NaN from a rejected draft that overflowed.
            drafts = config.prompt_lookup_num_tokens if model.backend.name == "graph" else 0
            warm_up(model, drafts)
            threads, step_seconds = choose_threads(
                model, config.threads, can_split=config.can_split
            )
            if not config.costs.steps:
                calibrate(model, meter)
            deadline.cancel()
        except (LoadError, BackendError, InputRefused) as error:
            connection.send(Unloadable(printable(str(error))))
            return
        with suppress(ConnectionError):  # the service has closed the connection
            backend = model.backend
            ready = Ready(
                model.info,
                threads,
                config.max_batch,
                backend.inputs,
                list_cpu_features(),
                meter.costs,
                backend.rows,
                step_seconds,
            )
            connection.send(ready)
            gc.freeze()  # a full collection over all modules would take 10 ms, in a request
            Loop(
                connection,
                model,
                window=config.batch_window_ms / 1000,
                drafts=drafts,
                meter=meter,
            ).run()


def give_up(connection: Connection, model: str) -> None:
    """Ends the process; a native call can't be stopped otherwise."""
    from t5engine.messages import Unloadable  # noqa: PLC0415 - see above

    message = f"{model}: loading took more than {LOAD_SECONDS} s; is its disk too slow?"
    connection.send(Unloadable(message))
    os._exit(1)


if __name__ == "__main__":
    main()
