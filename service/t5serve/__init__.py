"""Serves T5 models as GGUF on an ordinary CPU, to reformulate search queries."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t5serve.api import AsyncReformulator, Reformulator
    from t5serve.client.client import AsyncClient, Client
    from t5serve.results import Reformulation, Result

__version__ = "0.2.0"
__all__ = [
    "AsyncClient",
    "AsyncReformulator",
    "Client",
    "Reformulation",
    "Reformulator",
    "Result",
]

_MODULES = {
    "AsyncClient": "t5serve.client.client",
    "AsyncReformulator": "t5serve.api",
    "Client": "t5serve.client.client",
    "Reformulation": "t5serve.results",
    "Reformulator": "t5serve.api",
    "Result": "t5serve.results",
}


def __getattr__(name: str) -> object:
    """Imports a public class when it is first used, so that the import of the package is cheap.

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
