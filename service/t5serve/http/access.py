"""Who may use the service: names of the Host, keys, rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from starlette.types import Scope

from t5serve.http.auth import KeyRing
from t5serve.http.hosts import HostNames
from t5serve.http.rates import ClientRates
from t5serve.settings import Settings


@dataclass(frozen=True)
class Access:
    """The checks of a request before anything is done for it. None: there is no such check.

    Attributes:
        hosts: the names that a Host may have.
        keys: the valid keys.
        rates: the requests that each client may make.
    """

    hosts: HostNames | None = None
    keys: KeyRing | None = None
    rates: ClientRates | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Builds the checks.

        Raises:
            StartupError: the file of keys can't be read, or has no key.
        """
        return cls(
            HostNames.from_settings(settings),
            KeyRing.from_settings(settings),
            ClientRates.from_settings(settings),
        )

    def admits(self, scope: Scope) -> bool:
        """Whether a request has an allowed Host and a valid key, where that is needed."""
        return all(check is None or check.allow(scope) for check in (self.hosts, self.keys))
