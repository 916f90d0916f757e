"""Checks who may use the service: Host names, keys, rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from starlette.types import Scope

from t5serve.http.auth import ADMIN_KEYS, API_KEYS, KeyRing
from t5serve.http.hosts import HostNames
from t5serve.http.rates import ClientRates
from t5serve.settings import Settings


@dataclass(frozen=True)
class Access:
    """The checks of a request before any work is done for it. None: there is no such check.

    Attributes:
        hosts: the names that a Host may have.
        keys: the valid keys.
        admin_keys: the keys of operators.
        rates: the requests that each client may make.
    """

    hosts: HostNames | None = None
    keys: KeyRing | None = None
    admin_keys: KeyRing | None = None
    rates: ClientRates | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Builds the checks.

        Raises:
            StartupError: the file of keys can't be read, or has no key.
        """
        return cls(
            HostNames.from_settings(settings),
            KeyRing.from_file(settings.api_keys_file, API_KEYS),
            KeyRing.from_file(settings.admin_keys_file, ADMIN_KEYS),
            ClientRates.from_settings(settings),
        )

    def admits(self, scope: Scope) -> bool:
        """Whether a request has an allowed Host and a valid key, if these are checked."""
        return all(check is None or check.allow(scope) for check in (self.hosts, self.keys))

    def reload(self) -> None:
        """Reads the files of keys again.

        Raises:
            StartupError: a file can't be read, or has no key; all keys stay as they were.
        """
        rings = [ring for ring in (self.keys, self.admin_keys) if ring is not None]
        read = [ring.read_again() for ring in rings]
        for ring, keys in zip(rings, read, strict=True):
            ring.replace(keys)
