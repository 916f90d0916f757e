"""A served model: engine, profile, fingerprint, admission."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

from t5engine.config import WorkerConfig
from t5engine.cpus import plan
from t5engine.errors import ModelLoadError
from t5engine.messages import ModelInfo
from t5engine.pool.engine import Engine
from t5gguf.recipe import Recipe
from t5serve.errors import StartupError, request_error
from t5serve.models.admission import Admission
from t5serve.models.cache import ResultCache
from t5serve.models.cached_engine import CachedEngine
from t5serve.models.fingerprint import Fingerprint
from t5serve.reformulation.english import English
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.reformulation.speller import Speller
from t5serve.settings import Settings


class ServedModel:
    """A model that is served. It owns all state of the model; no state is global.

    Attributes:
        path: the GGUF file.
        recipe: the recipe of the model; None if the settings name a file.
        engine: the engine, whose worker processes have the model.
        cached_engine: the engine behind the cache; None: nothing is cached.
        admission: the checks that accept or refuse a request.
        lexicon: words that are spelled rightly, whatever they look like.
        fingerprint: the fingerprint of file and version, on which answers depend.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        path: Path,
        recipe: Recipe | None = None,
        fingerprint: Fingerprint | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        self.lexicon = Lexicon.read(settings.lexicon) if settings.lexicon else EMPTY
        self.path = path
        self.recipe = recipe
        self.engine = engine
        self.cached_engine = None if cache is None else CachedEngine(engine, cache)
        self.admission = Admission(engine, settings)
        self.fingerprint = fingerprint or Fingerprint(path)

    @classmethod
    def from_settings(cls, settings: Settings, cache: ResultCache | None = None) -> Self:
        """Builds the model that the settings name; its engine is not started yet.

        Args:
            settings: name the model, and configure its workers.
            cache: the cache of the service's results; None: nothing is cached.

        Raises:
            StartupError: there is no such model.
        """
        path, recipe = settings.find_model()
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
                separators=None if recipe is None else list(recipe.separators.values()),
            )
            for share in plan(settings.workers, settings.threads)
        ]
        fingerprint = Fingerprint(path)
        engine = Engine(
            workers,
            max_queue=settings.max_queue,
            stall_seconds=settings.stall_seconds,
            is_model_unchanged=fingerprint.is_unchanged,
        )
        return cls(engine, settings, path, recipe, fingerprint, cache)

    async def __aenter__(self) -> Self:
        """Starts the engine and waits until the model is loaded.

        Raises:
            StartupError: the model can't be loaded.
        """
        self.start()
        try:
            await self.ready()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Starts the workers and the computation of the fingerprint; loads word lists meanwhile."""
        self.fingerprint.start()
        self.engine.start()
        English.load()
        if self.lexicon:
            Speller.of(self.lexicon)

    async def ready(self) -> ModelInfo:
        """Waits until the model is loaded.

        Raises:
            StartupError: the model can't be loaded.
        """
        try:
            return await self.engine.ready()
        except ModelLoadError as error:
            raise StartupError(str(error)) from error

    async def close(self, drain_seconds: float = 0.0) -> None:
        """Waits for running jobs for at most `drain_seconds`, then ends the workers."""
        await self.engine.close(drain_seconds)

    @property
    def info(self) -> ModelInfo:
        """The facts that the workers read from the file.

        Raises:
            NotReady: the model is not loaded yet.
        """
        if self.engine.model is None:
            raise request_error(self.engine.not_ready())
        return self.engine.model

    @property
    def name(self) -> str:
        """The name of the model in requests.

        Raises:
            NotReady: the model is not loaded yet.
        """
        return self.info.name

    @cached_property
    def profile(self) -> Profile:
        """The model's tasks and generation defaults.

        Raises:
            NotReady: the model is not loaded yet.
        """
        return Profile.of(self.info, self.recipe)

    @cached_property
    def reformulator(self) -> Reformulator:
        """The reformulator of this model.

        Raises:
            NotReady: the model is not loaded yet.
        """
        return Reformulator(
            self.engine, self.profile, self.admission, self.lexicon, self.cached_engine
        )
