"""Decides at once whether a request is accepted: never a hidden wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import JobError
from t5engine.pool.engine import Engine
from t5gguf.tasks import Task
from t5serve.errors import InvalidRequest, QueueFull, request_error
from t5serve.settings import Settings


class Admission:
    """Checks a request against the limits of one model and the room in its queue."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._max_queries = settings.max_queries
        self._max_request_tokens = settings.max_request_tokens

    def check_budget(
        self, inputs: int, config: GenerationConfig, *, param: str | None = None
    ) -> None:
        """Refuses a request that would keep the service busy for too long.

        Args:
            inputs: the number of inputs to decode.
            config: the decoding parameters of each input.
            param: the field that holds the inputs.

        Raises:
            InvalidRequest: the inputs, or the tokens to decode, exceed the limit of a request.
        """
        limit = self._max_queries
        if inputs > limit:
            raise InvalidRequest(f"{inputs} inputs, at most {limit} are allowed", param=param)
        tokens = inputs * config.width * config.max_tokens
        budget = self._max_request_tokens
        if tokens > budget:
            raise InvalidRequest(
                f"{inputs} inputs x {config.width} sequences x {config.max_tokens} tokens are"
                f" {tokens}, at most {budget} are allowed",
                param=param if inputs > 1 else "max_tokens",
            )

    def fit_text(self, text: str, task: Task, param: str) -> str:
        """Returns a query as `fit` does; or a document, of which a part is read, as it is."""
        return text if task.truncate == "document" else self.fit(text, param)

    def fit_history(self, turns: Sequence[str], task: Task) -> tuple[str, ...]:
        """Returns the turns of a conversation, without those that no worker would read."""
        return tuple(turns) if task.truncate == "refuse" else self._engine.limits.fit_turns(turns)

    def fit(self, text: str, param: str) -> str:
        """Returns the query, with blanks collapsed if it is long; refuses one that is too long.

        What is done with a query before it is decoded takes time for each of its characters.

        Args:
            text: the query.
            param: the field that holds it.

        Raises:
            ContextLengthExceeded: the query is too long.
        """
        try:
            return self._engine.limits.fit(text)
        except JobError as error:
            raise request_error(error, param=param) from error

    def check_room(
        self, inputs: int, config: GenerationConfig, count: Callable[[], int] | None = None
    ) -> None:
        """Refuses a request if the queue has no room for all of its inputs.

        Args:
            inputs: the number of inputs.
            config: the decoding parameters of each input.
            count: returns how many of them need the engine; only called if there is no room for
                all; None: all need it.

        Raises:
            NotReady: no worker is ready.
            QueueFull: there is no room for all inputs.
        """
        is_ready = self._engine.state == "ready"
        free = self._engine.free_slots(config.width) if is_ready else 0
        if free < inputs and count is not None:
            inputs = count()
        if free >= inputs:
            return
        if not is_ready:
            raise request_error(self._engine.not_ready())
        raise QueueFull(f"the queue has no room for {inputs} more inputs; retry later")
