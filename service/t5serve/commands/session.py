"""An engine for the time of a command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from t5serve.engine.engine import Engine
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.server import build_engine
from t5serve.settings import Settings
from t5serve.wire import ModelInfo


@dataclass(frozen=True)
class Session:
    """A running engine with the model's tasks and defaults."""

    engine: Engine
    model: ModelInfo
    profile: Profile

    @property
    def reformulator(self) -> Reformulator:
        """On this engine."""
        return Reformulator(self.engine, self.profile)


@asynccontextmanager
async def session(settings: Settings) -> AsyncIterator[Session]:
    """Starts the engine and ends it.

    Raises:
        StartupError: the model can't be served.
    """
    engine = build_engine(settings)
    _, recipe = settings.find_model()
    engine.start()
    try:
        model = await engine.ready()
        yield Session(engine, model, Profile.of(model, recipe))
    finally:
        await engine.close()
