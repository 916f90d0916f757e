"""Builds models from their declarations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from t5engine.decoding.parameters import MAX_TOKENS
from t5engine.header import HeaderError, open_checked, printable
from t5engine.messages import Judged, ModelInfo
from t5engine.pool.result import Result
from t5gguf.recipe import Recipe
from t5serve.errors import StartupError
from t5serve.models.cache import ResultCache
from t5serve.models.cached_engine import Lookup
from t5serve.models.declaration import Declaration
from t5serve.models.placement import Placement
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.profile import Profile
from t5serve.settings import Settings


class ModelFactory:
    """Builds the models of a service. Models with equal lexicons share one.

    Args:
        settings: the limits of the service.
        declarations: the models of the service at its start; the cores are shared out to them.
        cache: the cache of the models' results; None: nothing is cached.

    Attributes:
        on_generated: called with the name of a model and the result of each generation.
        on_judged: called with the name of a model, each judgement, and its milliseconds in the
            queue and between the processes.
        on_lookup: called with the name of a model and where each result that can be cached is from.

    Raises:
        StartupError: T5SERVE_CPU_SET has a processor that this process may not use.
    """

    def __init__(
        self,
        settings: Settings,
        declarations: Sequence[Declaration],
        cache: ResultCache | None = None,
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._placement = Placement(declarations, settings.cpu_set)
        self._lexicons: WeakValueDictionary[str, Lexicon] = WeakValueDictionary()
        self.on_generated: Callable[[str, Result], None] = lambda _name, _result: None
        self.on_judged: Callable[[str, Judged, float, float], None] = lambda *_: None
        self.on_lookup: Callable[[str, Lookup], None] = lambda _name, _lookup: None

    def build(self, declaration: Declaration, lexicon: Lexicon | None = None) -> ServedModel:
        """Builds a model; its engine is not started yet.

        Args:
            declaration: the model.
            lexicon: its lexicon; None: read from the declared file.

        Raises:
            StartupError: there is no such model, or the lexicon can't be read.
        """
        if lexicon is None:
            lexicon = self.read_lexicon(declaration)
        shares = self._placement.shares(declaration)
        model = ServedModel.from_settings(self._settings, declaration, shares, lexicon, self._cache)
        model.memory_bytes = self.measure(declaration)
        model.engine.on_generated = lambda result: self.on_generated(model.name, result)
        model.engine.judging.on_judged = lambda judged, queue_ms, ipc_ms: self.on_judged(
            model.name, judged, queue_ms, ipc_ms
        )
        if model.cached_engine is not None:
            model.cached_engine.on_lookup = lambda lookup: self.on_lookup(model.name, lookup)
        if model.cached_judging is not None:
            model.cached_judging.on_lookup = lambda lookup: self.on_lookup(model.name, lookup)
        return model

    def find(self, declaration: Declaration) -> tuple[Path, Recipe | None]:
        """Returns the file of a model, and the recipe if the declaration names one.

        Raises:
            StartupError: there is no such file or recipe.
        """
        return self._settings.model_copy(update={"model": declaration.model}).find_model()

    def read_lexicon(self, declaration: Declaration) -> Lexicon:
        """Reads the lexicon of a model; equal files give the same object.

        Raises:
            StartupError: the file can't be read, or a line is malformed.
        """
        if declaration.lexicon is None:
            return EMPTY
        source = "T5SERVE_LEXICON"
        if self._settings.models_file is not None:
            source = f"{self._settings.models_file}: lexicon of {declaration.name}"
        lexicon = Lexicon.read(declaration.lexicon, source)
        content = hashlib.sha256(repr(sorted(lexicon.counts.items())).encode()).hexdigest()
        return self._lexicons.setdefault(content, lexicon)

    def describe(self, declaration: Declaration) -> tuple[ModelInfo, Profile]:
        """Describes a model that is not loaded, by the header of its file.

        Raises:
            StartupError: there is no such model, or its file is not a T5 that can be served.
        """
        path, recipe = self.find(declaration)
        try:
            metadata = open_checked(path).metadata
        except HeaderError as error:
            raise StartupError(str(error)) from error
        info = ModelInfo(
            name=declaration.name or printable(str(metadata.get("general.name", path.stem))),
            description=f"{path.name}, not loaded",
            n_vocab=len(metadata["tokenizer.ggml.tokens"]),
            max_input_tokens=self._settings.max_input_tokens,
            max_tokens=MAX_TOKENS,
            metadata={
                key: str(value) for key, value in metadata.items() if key.startswith("t5serve.")
            },
        )
        profile = Profile.of(info, recipe)
        return info, declaration.defaults.apply(profile, info.max_tokens)

    def measure(self, declaration: Declaration) -> int:
        """Returns the bytes of memory that a model counts for: an upper estimate.

        Workers share the mapped file. Of types that kernels pack, each worker has a copy, at most
        as large as the file.

        Raises:
            StartupError: there is no such model.
        """
        path, _ = self.find(declaration)
        try:
            return path.stat().st_size * (1 + declaration.demand.count)
        except OSError as error:
            raise StartupError(f"{path}: {error.strerror}") from error
