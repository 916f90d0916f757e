"""A served model: engine, profile, fingerprint, admission."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Self

from t5engine.config import WorkerConfig
from t5engine.cpus import Share
from t5engine.errors import ModelLoadError
from t5engine.messages import ModelInfo
from t5engine.pool.engine import Engine
from t5gguf.recipe import Recipe
from t5serve.errors import StartupError, request_error
from t5serve.models.admission import Admission
from t5serve.models.cache import ResultCache
from t5serve.models.cached_engine import CachedEngine
from t5serve.models.cached_judging import CachedJudging
from t5serve.models.declaration import Declaration
from t5serve.models.fingerprint import Fingerprint
from t5serve.models.placement import Placement
from t5serve.models.users import Users
from t5serve.reformulation.english import English
from t5serve.reformulation.guards.wordings import load_rules
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.reformulation.shorthand import load_shorthand
from t5serve.reformulation.speller import Speller
from t5serve.reranking.reranker import Reranker
from t5serve.settings import Settings


class ServedModel:
    """A model that is served. It owns all state of the model; no state is global.

    Args:
        engine: the engine, whose worker processes have the model.
        settings: the limits of a request.
        path: the GGUF file.
        recipe: the recipe of the model; None if the settings name a file.
        fingerprint: the fingerprint of file and version, on which answers depend.
        lexicon: words that are spelled rightly, whatever they look like.
        declaration: the declared name and defaults; None: those of the file or the recipe.
        cache: the cache of the service's results; None: nothing is cached.

    Attributes:
        cached_engine: the engine behind the cache; None: nothing is cached.
        cached_judging: judgements behind the cache; None: nothing is cached.
        admission: the checks that accept or refuse a request.
        users: the requests that use the model now.
        memory_bytes: the bytes of memory that the model counts for; 0: not measured.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        path: Path,
        recipe: Recipe | None = None,
        fingerprint: Fingerprint | None = None,
        lexicon: Lexicon = EMPTY,
        declaration: Declaration | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        self.lexicon = lexicon
        self.path = path
        self.recipe = recipe
        self.engine = engine
        self.cached_engine = None if cache is None else CachedEngine(engine, cache)
        self.cached_judging = None if cache is None else CachedJudging(engine.judging, cache)
        self.admission = Admission(engine, settings)
        self.fingerprint = fingerprint or Fingerprint(path)
        self.users = Users()
        self.memory_bytes = 0
        self._declaration = declaration or Declaration.of_settings(settings)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        declaration: Declaration | None = None,
        shares: Sequence[Share] | None = None,
        lexicon: Lexicon | None = None,
        cache: ResultCache | None = None,
    ) -> Self:
        """Builds a model; its engine is not started yet.

        Args:
            settings: the limits of the service.
            declaration: the model; None: the one that the settings name.
            shares: the cores of each worker; None: all cores that there are.
            lexicon: the lexicon of the model; None: the file that the declaration names.
            cache: the cache of the service's results; None: nothing is cached.

        Raises:
            StartupError: there is no such model.
        """
        if declaration is not None:
            settings = settings.model_copy(update={"model": declaration.model})
        declaration = declaration or Declaration.of_settings(settings)
        if lexicon is None:
            lexicon = Lexicon.read(declaration.lexicon) if declaration.lexicon else EMPTY
        path, recipe = settings.find_model()
        if shares is None:
            shares = Placement([declaration], settings.cpu_set).shares(declaration)
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
                judged_tokens=None if recipe is None else _list_judged_tokens(recipe),
                # The budget of models counts workers, so their number has to be known.
                can_split=share.can_split and settings.models_bytes is None,
            )
            for share in shares
        ]
        fingerprint = Fingerprint(path)
        engine = Engine(
            workers,
            max_queue=settings.max_queue,
            stall_seconds=settings.stall_seconds,
            is_model_unchanged=fingerprint.is_unchanged,
        )
        return cls(engine, settings, path, recipe, fingerprint, lexicon, declaration, cache)

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
        self.start_workers()
        load_words(self.lexicon)

    def start_workers(self) -> None:
        """Starts the workers and the computation of the fingerprint."""
        self.fingerprint.start()
        self.engine.start()

    async def ready(self) -> ModelInfo:
        """Waits until the model is loaded.

        Raises:
            StartupError: the model can't be loaded, or the defaults don't fit it.
        """
        try:
            info = await self.engine.ready()
        except ModelLoadError as error:
            raise StartupError(str(error)) from error
        _ = self.profile  # says whether the defaults fit
        self.users.left_at = time.monotonic()  # it could not be used before
        return info

    async def retire(self, drain_seconds: float) -> None:
        """Waits until no request uses the model, for at most `drain_seconds`; ends the workers.

        Requests that use the model can still submit jobs.
        """
        started = time.monotonic()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.users.wait_until_none(), drain_seconds)
        await self.close(max(0.0, drain_seconds - (time.monotonic() - started)))

    async def close(self, drain_seconds: float = 0.0) -> None:
        """Waits for running jobs for at most `drain_seconds`, then ends the workers."""
        await self.engine.close(drain_seconds)

    def use_lexicon(self, lexicon: Lexicon) -> None:
        """Replaces the lexicon for requests that begin from now on."""
        self.lexicon = lexicon
        self.__dict__.pop("reformulator", None)  # the cached property

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
            NotReady: the model is not loaded yet, and only its file has the name.
        """
        return self._declaration.name or self.info.name

    @cached_property
    def profile(self) -> Profile:
        """The model's tasks and generation defaults.

        Raises:
            NotReady: the model is not loaded yet.
            StartupError: the declared defaults don't fit the model.
        """
        profile = Profile.of(self.info, self.recipe)
        return self._declaration.defaults.apply(profile, self.info.max_tokens)

    @cached_property
    def reformulator(self) -> Reformulator:
        """The reformulator of this model.

        Raises:
            NotReady: the model is not loaded yet.
        """
        return Reformulator(
            self.engine, self.profile, self.admission, self.lexicon, self.cached_engine
        )

    @cached_property
    def reranker(self) -> Reranker | None:
        """The reranker of this model; None: the model does not rerank.

        Raises:
            NotReady: the model is not loaded yet.
        """
        relevance = self.profile.relevance
        if relevance is None:
            return None
        return Reranker(self.engine, relevance, self.cached_judging)


def _list_judged_tokens(recipe: Recipe) -> list[str]:
    return [] if recipe.rerank is None else recipe.rerank.tokens


def load_words(lexicon: Lexicon) -> None:
    """Reads words and wordings, and makes the speller of a lexicon; this can take seconds."""
    English.load()
    load_rules()
    load_shorthand()
    if lexicon:
        Speller.of(lexicon)
