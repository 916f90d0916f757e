"""Decodes T5 models from GGUF files in supervised worker processes. No HTTP, no recipes.

pool is the parent's side; worker, graph and kernels run in the child process, the only code that
touches llama.cpp; messages go between the two; decoding turns logits into token ids. `T5` is a
model for callers in this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t5engine.api import T5

__all__ = ["T5"]


def __getattr__(name: str) -> object:
    """Imports T5 when it is first used: the worker imports this package too, and does not use it.

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from t5engine import api  # noqa: PLC0415

    return getattr(api, name)
