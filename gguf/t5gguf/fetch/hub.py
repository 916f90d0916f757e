"""The hub through huggingface-hub: what a repository has, and its bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status
from tqdm import tqdm

from t5gguf.errors import FetchError

PAUSES = (1.0, 2.0, 4.0)  # seconds before each further try
LONGEST_WAIT = 60.0  # seconds that a hub may ask to wait; beyond, the user decides
CHUNK = 1 << 14
TEMPORARY = (408, 429, 500, 502, 503, 504)
SHA256, BLOB = 64, 40  # hexadecimal digits of the two kinds of ETag
# requests' errors (huggingface-hub 0.x) are OSErrors; httpx's (1.x) and httpx2's (2.x) share a
# base with this class.
TRANSPORT: tuple[type[Exception], ...] = (
    *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)),
    OSError,
)


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    repo: str
    revision: str
    files: frozenset[str]


@dataclass(frozen=True)
class RemoteFile:
    """One file at one commit; `etag` is its sha256, or git's blob id for a small file."""

    repo: str
    revision: str
    name: str
    size: int
    etag: str


class Hub:
    """A hub's endpoint; the default is HF_ENDPOINT, else Hugging Face's own.

    Tokens and timeouts are huggingface-hub's affair: HF_TOKEN, HF_HUB_DOWNLOAD_TIMEOUT.
    """

    def __init__(self, endpoint: str | None = None, *, progress: bool = True) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._progress = progress
        if urlsplit(self.endpoint).scheme not in ("http", "https"):
            raise FetchError(f"HF_ENDPOINT is {self.endpoint!r}, expected a URL with http or https")

    def listing(self, repo: str, revision: str) -> Listing:
        """The commit that a branch, tag or commit stands for, and the names of its files.

        Raises:
            FetchError: no such repository or revision, no access, or no answer.
        """
        patience = _Patience(self.endpoint, repo, revision)
        while True:
            try:
                info = HfApi(endpoint=self.endpoint).model_info(
                    repo, revision=revision, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
                )
                names = frozenset(file.rfilename for file in info.siblings or ())
                return Listing(repo, str(info.sha), names)
            except HFValidationError as error:
                raise FetchError(f"{repo!r} can't be a repository's name: {error}") from error
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise FetchError(
                    f"{self.endpoint} does not answer as a hub does ({error!r}): check HF_ENDPOINT"
                ) from error
            except TRANSPORT as error:
                patience.wait(error)

    def file(self, listing: Listing, name: str) -> RemoteFile:
        """Size and hash of one file.

        Raises:
            FetchError: as above, no such file, another commit, or no hash to verify it by.
        """
        repo, revision = listing.repo, listing.revision
        url = hf_hub_url(repo, name, revision=revision, endpoint=self.endpoint)
        patience = _Patience(self.endpoint, repo, revision, name)
        while True:
            try:
                found = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
                break
            except TRANSPORT as error:
                patience.wait(error)
        if found.commit_hash not in (revision, None):
            raise FetchError(f"{repo} has {name} at {found.commit_hash}, not at {revision}")
        etag = found.etag or ""
        if found.size is None or len(etag) not in (SHA256, BLOB):
            raise FetchError(
                f"{self.endpoint} tells no size or hash of {name} in {repo} to verify it by"
            )
        return RemoteFile(repo, revision, name, found.size, etag)

    def download(self, remote: RemoteFile, part: Path) -> None:
        """Appends to `part` what it lacks, over as many connections as that takes.

        Not huggingface-hub's own download: of late, what a process leaves is never taken up.

        Raises:
            FetchError: as above; `part` keeps what came, for the next time.
        """
        patience = _Patience(self.endpoint, remote.repo, remote.revision, remote.name)
        before = part.stat().st_size if part.exists() else 0
        with tqdm(
            total=remote.size,
            initial=before,
            unit="B",
            unit_scale=True,
            desc=remote.name,
            disable=not self._progress,
        ) as bar:
            while before < remote.size:
                fault: Exception = ConnectionError("the connection was cut")
                try:
                    self._receive(remote, part, bar)
                except TRANSPORT as error:
                    fault = error
                size = part.stat().st_size if part.exists() else 0
                if size > before:  # it does go on
                    patience = _Patience(self.endpoint, remote.repo, remote.revision, remote.name)
                if size < remote.size:
                    patience.wait(fault)
                before = size

    def _receive(self, remote: RemoteFile, part: Path, bar: tqdm[NoReturn]) -> None:
        url = hf_hub_url(remote.repo, remote.name, revision=remote.revision, endpoint=self.endpoint)
        there = part.stat().st_size if part.exists() else 0
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if there:
            headers["Range"] = f"bytes={there}-"
        with _stream(url, headers) as (response, chunks), part.open("ab") as file:
            hf_raise_for_status(response)
            if there and response.status_code != 206:  # from the start, whatever was asked for
                file.truncate(0)
                bar.update(-there)
            for chunk in chunks:
                file.write(chunk)
                bar.update(len(chunk))


@contextmanager
def _stream(url: str, headers: dict[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """A response and its body; the session's kind depends on huggingface-hub's version."""
    session: Any = get_session()
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    if callable(getattr(session, "stream", None)):  # a flag of requests
        with session.stream("GET", url, headers=headers, timeout=timeout) as response:
            yield response, response.iter_bytes()  # as it comes: a cut loses nothing
    else:  # requests, before 1.0
        with session.get(url, headers=headers, timeout=timeout, stream=True) as response:
            yield response, response.iter_content(CHUNK)


class _Patience:
    """How long to go on with one thing that fails; what is asked for is named in the error."""

    def __init__(self, endpoint: str, repo: str, revision: str, name: str = "") -> None:
        self._endpoint, self._repo, self._revision, self._name = endpoint, repo, revision, name
        self._pauses = iter(PAUSES)

    def wait(self, error: Exception) -> None:
        """Returns when another try is due.

        Raises:
            FetchError: none is, for the reason given.
            OSError: the fault is this machine's.
        """
        if isinstance(error, HfHubHTTPError):
            pause = next(self._pauses, None) if error.response.status_code in TEMPORARY else None
            asked = _asked(error.response.headers)
            if pause is None or asked > LONGEST_WAIT:
                raise FetchError(self._refusal(error, asked)) from error
            time.sleep(max(pause, asked))
            return
        if isinstance(error, OSError) and not isinstance(error, ConnectionError) and error.errno:
            raise error  # a full disk, say
        pause = next(self._pauses, None)
        if pause is None:
            raise FetchError(
                f"{self._endpoint} can't be reached, or breaks off "
                f"({str(error) or type(error).__name__}): check the network and HF_ENDPOINT, "
                "and run this again"
            ) from error
        time.sleep(pause)

    def _refusal(self, error: HfHubHTTPError, asked: float) -> str:
        status = error.response.status_code
        match status, error.response.headers.get("X-Error-Code"):
            case _, "GatedRepo":
                says = (
                    f"{self._repo} is gated: accept its terms at {self._endpoint}/{self._repo} "
                    "and set HF_TOKEN to a token of the account that did"
                )
            case 401 | 403, _:
                says = (
                    f"{self._repo} is private, or there is none of that name (status {status}): "
                    "check the name, or set HF_TOKEN to a token that may read it"
                )
            case 404, "RevisionNotFound":
                says = (
                    f"{self._repo} has no revision {self._revision}: name another one with @, or "
                    "pin what there is now with --update"
                )
            case 404, "EntryNotFound":
                says = f"{self._repo} has no file {self._name} at {self._revision}"
            case 404, _:
                says = f"{self._endpoint} has no repository {self._repo}"
            case 429, _:
                wait = f" for {asked:.0f} s" if asked else ""
                says = f"{self._endpoint} wants no more requests{wait}: try again later"
            case _:
                says = f"{self._endpoint} fails with status {status} over {self._repo}: try later"
        return says


def _asked(headers: Any) -> float:  # noqa: ANN401 - requests' or httpx's
    """Seconds that the hub asks to wait, in either of the two headers that it uses."""
    text = headers.get("Retry-After") or headers.get("RateLimit", "").rpartition("t=")[2]
    return float(text) if text.isdecimal() else 0.0
