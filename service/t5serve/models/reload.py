"""Reads keys, the file of models and lexicons again, while the service goes on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Protocol

from t5serve.errors import NotReady, StartupError
from t5serve.models.declaration import Declaration
from t5serve.models.models_file import read_declarations
from t5serve.models.registry import ModelRegistry
from t5serve.models.served_model import ServedModel, load_words
from t5serve.models.slot import ModelSlot
from t5serve.reformulation.lexicon import Lexicon
from t5serve.settings import Settings

logger = logging.getLogger(__name__)


@dataclass
class ReloadReport:
    """What a reload did, by the names of models.

    Attributes:
        faults: what could not be reloaded, and why; what served before serves on.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lists = vars(self)
        parts = [f"{name}: {', '.join(lists[name])}" for name in lists if lists[name]]
        return "; ".join(parts)


class OnReload(Protocol):
    """Counts a reload."""

    def __call__(self, *, has_succeeded: bool) -> None: ...


def _ignore(*, has_succeeded: bool) -> None:
    """Counts nothing."""


class Reloader:
    """Reloads what has changed. A reload that is asked for during another one waits for it.

    A changed model is loaded beside the old one, which finishes its requests once the new one is
    ready. Where something can't be reloaded, what served before serves on.

    Args:
        settings: the settings, which stay as they were at the start.
        models: the served models.
        reload_keys: reads the files of keys again.

    Attributes:
        on_reload: called after each reload.
    """

    def __init__(
        self, settings: Settings, models: ModelRegistry, reload_keys: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._models = models
        self._reload_keys = reload_keys
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.on_reload: OnReload = _ignore

    async def reload(self) -> ReloadReport:
        """Reloads keys, models and lexicons, and says what changed.

        A caller that is cancelled leaves the reload to itself.

        Raises:
            NotReady: the service is shutting down.
        """
        # An empty context: what a new model logs does not belong to the request that reloads.
        task = asyncio.create_task(self._reload(), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _reload(self) -> ReloadReport:
        async with self._lock:
            await self._models.wait_until_started()
            if self._models.is_draining:
                raise NotReady("the service is draining")
            started = time.monotonic()
            report = ReloadReport()
            try:
                self._reload_keys()
            except StartupError as error:
                report.faults.append(str(error))
            try:
                declarations = await asyncio.to_thread(read_declarations, self._settings)
            except StartupError as error:
                report.faults.append(str(error))
            else:
                await self._reload_models(declarations, report)
        level = logging.ERROR if report.faults else logging.INFO
        seconds = time.monotonic() - started
        logger.log(level, "reloaded in %.1f s: %s", seconds, report)
        self.on_reload(has_succeeded=not report.faults)
        return report

    def reload_soon(self) -> None:
        """Reloads in the background: for a signal."""
        task = asyncio.create_task(self._reload_for_signal())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ends the reloads that are not done."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reload_for_signal(self) -> None:
        try:
            await self.reload()
        except NotReady:
            logger.info("ignored a request to reload: the service is shutting down")
        except Exception:  # the service goes on
            logger.exception("the reload failed")

    async def _reload_models(self, declarations: list[Declaration], report: ReloadReport) -> None:
        async with self._models.loader.lock:
            old = {slot.declaration.name: slot for slot in self._models}
            slots = []
            for declaration in declarations:
                slot = old.pop(declaration.name, None)
                if slot is None:
                    slots.append(await self._add(declaration, report))
                else:
                    await self._renew(slot, declaration, report)
                    slots.append(slot)
            self._models.replace(slots)
            report.removed += [slot.label for slot in old.values()]

    async def _add(self, declaration: Declaration, report: ReloadReport) -> ModelSlot:
        """Returns the slot of a new model; one that can't be loaded is there and says why."""
        slot = ModelSlot(declaration, drain_seconds=self._settings.drain_seconds)
        report.added.append(slot.label)
        await self._fill(slot, declaration, report)
        return slot

    async def _renew(self, slot: ModelSlot, declaration: Declaration, report: ReloadReport) -> None:
        """Brings a slot up to its new declaration and to the files on disk."""
        model = slot.model
        if model is None:
            is_same = declaration == slot.declaration and slot.failure is None
            if await self._fill(slot, declaration, report):
                (report.unchanged if is_same else report.changed).append(slot.label)
            return
        lexicon = await self._read_lexicon(model, declaration, report)
        try:
            is_same = await self._is_same(model, slot.declaration, declaration)
            if not is_same:
                new = await self._models.loader.load(declaration, lexicon)
        except StartupError as error:
            report.faults.append(f"{slot.label}: {error}; the model from before serves on")
            return
        has_new_words = lexicon is not model.lexicon
        if has_new_words and is_same:
            await asyncio.to_thread(load_words, lexicon)
            model.use_lexicon(lexicon)
        slot.declaration = declaration
        if not is_same:
            self._models.loader.serve(slot, new)
            logger.info("ready: %s (%s)", slot.label, new.info.description)
        else:
            self._models.loader.watch_use(slot)  # the idle time may be another one
        (report.unchanged if is_same and not has_new_words else report.changed).append(slot.label)

    async def _fill(self, slot: ModelSlot, declaration: Declaration, report: ReloadReport) -> bool:
        """Loads the model of an empty slot if it loads at the start, else reads about it.

        Returns:
            Whether that succeeded.
        """
        is_idle = slot.description is not None and slot.failure is None
        is_idle = is_idle and slot.declaration.load == "start"
        slot.declaration = declaration
        factory, loader = self._models.factory, self._models.loader
        try:
            if declaration.load == "start" and not is_idle:
                await loader.make_room(declaration)
                loader.serve(slot, await loader.load(declaration))
            else:
                slot.description = await asyncio.to_thread(factory.describe, declaration)
                loader.check_size(declaration)
                slot.failure = None
        except StartupError as error:
            slot.fail(str(error), time.monotonic())
            report.faults.append(f"{slot.label}: {error}")
            return False
        return True

    async def _is_same(
        self, model: ServedModel, old: Declaration, declaration: Declaration
    ) -> bool:
        """Whether a model is what its new declaration says, and its file is what it was.

        Raises:
            StartupError: there is no such file or recipe any more.
        """
        if not old.has_same_engine(declaration):
            return False
        found = await asyncio.to_thread(self._models.factory.find, declaration)
        is_same_file = found == (model.path, model.recipe)
        return is_same_file and await model.fingerprint.is_unchanged()

    async def _read_lexicon(
        self, model: ServedModel, declaration: Declaration, report: ReloadReport
    ) -> Lexicon:
        """Reads the lexicon of a model; returns the old one if that fails."""
        try:
            return await asyncio.to_thread(self._models.factory.read_lexicon, declaration)
        except StartupError as error:
            report.faults.append(f"{error}; the words from before stay")
            return model.lexicon
