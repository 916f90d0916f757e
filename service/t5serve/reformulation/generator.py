"""The interfaces that a reformulator uses: generators and admission."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Cut, Progress
from t5engine.pool.result import Result
from t5serve.reformulation.selector import Cache


class Generator(Protocol):
    """Decodes inputs."""

    async def generate(
        self,
        config: GenerationConfig,
        *,
        timeout: float,  # noqa: ASYNC109 - as of the engine
        text: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        cut: Cut | None = None,
    ) -> Result:
        """Decodes one input; see `Engine.generate`."""
        ...


class CachedGenerator(Generator, Protocol):
    """Decodes inputs whose results it does not have yet."""

    @property
    def cache(self) -> Cache:
        """Keeps results."""
        ...

    def has_result(
        self, config: GenerationConfig, *, text: str | None = None, cut: Cut | None = None
    ) -> bool:
        """Whether `generate` needs no place in the queue now."""
        ...


class Admission(Protocol):
    """Accepts or refuses a request before it is decoded."""

    def check_budget(
        self, inputs: int, config: GenerationConfig, *, param: str | None = None
    ) -> None:
        """Raises a RequestError if a request would keep the service busy for too long."""
        ...

    def check_room(
        self, inputs: int, config: GenerationConfig, count: Callable[[], int] | None = None
    ) -> None:
        """Raises a RequestError if the queue has no room for all of these inputs."""
        ...
