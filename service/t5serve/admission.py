"""Says at once whether a request is taken: never a hidden wait."""

from __future__ import annotations

from t5serve.decoding.config import GenerationConfig
from t5serve.engine.engine import Engine
from t5serve.errors import InvalidRequest, NotReady, QueueFull
from t5serve.settings import Settings
from t5serve.wire import ModelInfo


class Admission:
    """The budget of a request, and the room there is for it."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def model(self) -> ModelInfo:
        """The model that is served.

        Raises:
            NotReady: it has not been loaded yet.
        """
        if self._engine.model is None:
            raise NotReady(f"the service is {self._engine.state}")
        return self._engine.model

    def check_budget(
        self, prompts: int, config: GenerationConfig, *, param: str | None = None
    ) -> None:
        """Refuses what would keep the service busy for too long; `param` has the prompts.

        Raises:
            InvalidRequest: more prompts, or more tokens in all, than one request may ask for.
        """
        most = self._settings.max_queries
        if prompts > most:
            raise InvalidRequest(f"{prompts} inputs, at most {most} are taken", param=param)
        wanted = prompts * config.width * config.max_tokens
        budget = self._settings.max_request_tokens
        if wanted > budget:
            raise InvalidRequest(
                f"{prompts} inputs x {config.width} sequences x {config.max_tokens} tokens are"
                f" {wanted}, at most {budget} are taken"
            )

    def check_room(self, prompts: int, config: GenerationConfig) -> None:
        """Refuses a request that would not be taken whole.

        Raises:
            NotReady: no worker is ready.
            QueueFull: there is no room for all of its prompts.
        """
        if self._engine.state != "ready":
            raise NotReady(f"the service is {self._engine.state}")
        if self._engine.room(config.width) < prompts:
            raise QueueFull(f"no room for {prompts} more; try again")
