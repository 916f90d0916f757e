"""Running the service: engine, application, uvicorn, and an orderly end."""

from __future__ import annotations

from types import FrameType

import uvicorn

from t5serve import logs
from t5serve.app import create_app
from t5serve.cpus import plan
from t5serve.engine.config import WorkerConfig
from t5serve.engine.engine import Engine
from t5serve.errors import StartupError
from t5serve.protocol import Protocol
from t5serve.settings import Settings


def build_engine(settings: Settings) -> Engine:
    """An engine for the settings, not started yet.

    Raises:
        StartupError: there is no such model.
    """
    path, _ = settings.find_model()
    workers = [
        WorkerConfig(
            model=str(path),
            threads=share.threads,
            cpus=list(share.cpus),
            max_input_tokens=settings.max_input_tokens,
            logit_scale=settings.logit_scale,
            backend=settings.backend,
            max_batch=settings.max_batch,
            batch_window_ms=settings.batch_window_ms,
            prompt_lookup_num_tokens=settings.prompt_lookup_num_tokens,
            ggml_backends=str(settings.ggml_backends) if settings.ggml_backends else None,
            kernels=settings.kernels,
        )
        for share in plan(settings.workers, settings.threads)
    ]
    return Engine(workers, max_queue=settings.max_queue)


def serve(settings: Settings) -> None:
    """Serves until a signal ends it.

    Raises:
        StartupError: the model can't be served.
    """
    logs.configure(settings.log_level, settings.log_format)
    engine = build_engine(settings)
    model, recipe = settings.find_model()

    def give_up() -> None:
        server.should_exit = True

    app = create_app(settings, engine, model, recipe, on_failure=give_up)
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=Protocol,
            log_config=None,  # what uvicorn says goes the way of all else
            access_log=False,  # ours says more
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=settings.drain_seconds,
        ),
        engine,
    )
    server.run()
    if engine.failure is not None:
        raise StartupError(engine.failure)


class _Server(uvicorn.Server):
    """Tells the engine of a signal at once, so that open connections see the draining."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._engine.drain()
        super().handle_exit(sig, frame)
