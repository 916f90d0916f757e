"""Checks the variables with the prefix T5SERVE_: a misspelt one must not be ignored."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping

from t5serve.errors import StartupError

PREFIX = "T5SERVE_"
OTHER_VARIABLES = frozenset(
    {
        "T5SERVE_API_KEY",  # the key of a client, as in the snippets of the web page
        "T5SERVE_CHECKPOINT",  # these are the tests'
        "T5SERVE_FUZZ",
        "T5SERVE_FUZZ_SEED",
    }
)
SERVICE_LINK = re.compile(
    r"T5SERVE(_\w+)?_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)
"""What Kubernetes sets for a Service whose name begins with t5serve."""
SERVICE_LINK_URL = re.compile(r"(tcp|udp|sctp)://")


def check_environment(variables: Mapping[str, str], settings: Collection[str]) -> None:
    """Checks the names of variables, and values that are no typing error.

    Args:
        variables: the environment.
        settings: the names of the settings, in lower case and without prefix.

    Raises:
        StartupError: variables with the prefix are no settings; the message names the nearest.
    """
    known = {name.upper() for name in settings}
    faults = []
    for name, value in sorted(variables.items()):
        upper = name.upper()
        if upper == "T5SERVE_PORT" and SERVICE_LINK_URL.match(value):
            faults.append(
                f"{name}: {value} is Kubernetes' variable for a Service named t5serve; "
                "set enableServiceLinks: false for the pod, or set the port"
            )
        elif upper == "T5SERVE_API_KEYS_FILE" and not value:  # unset would be: without keys
            faults.append(f"{name}: is empty; name a file of keys, or unset the variable")
        elif upper.startswith(PREFIX) and not _is_known(upper, value, known):
            faults.append(_describe_unknown(name, known))
    if faults:
        raise StartupError("; ".join(faults))


def _is_known(name: str, value: str, known: Collection[str]) -> bool:
    is_link = SERVICE_LINK.fullmatch(name) or SERVICE_LINK_URL.match(value)
    return name.removeprefix(PREFIX) in known or name in OTHER_VARIABLES or is_link is not None


def _describe_unknown(name: str, known: Collection[str]) -> str:
    # Without the prefix, since all names are alike with it.
    nearest = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, n=1)
    advice = "docs/settings.md lists the settings"
    if nearest:
        advice = f"did you mean {PREFIX}{nearest[0]}?"
    return f"{name}: there is no such setting; {advice}"
