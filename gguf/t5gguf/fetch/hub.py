"""Lists and downloads the files of a repository on the hub, through huggingface-hub."""

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

RETRY_DELAYS = (1.0, 2.0, 4.0)  # seconds before each retry
MAX_RETRY_DELAY = 60.0  # seconds; if a hub asks for a longer delay, the user decides
CHUNK_BYTES = 1 << 14
RETRIABLE_STATUSES = (408, 429, 500, 502, 503, 504)
SHA256_DIGITS, BLOB_DIGITS = 64, 40  # hexadecimal digits of the two types of ETag
# The errors of requests (huggingface-hub 0.x) are OSErrors. Those of httpx (1.x) and httpx2 (2.x)
# have a base class in common with HfHubHTTPError.
TRANSPORT_ERRORS: tuple[type[Exception], ...] = (
    *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)),
    OSError,
)


@dataclass(frozen=True)
class Listing:
    """The names of a repository's files at one commit."""

    repo: str
    revision: str
    files: frozenset[str]


@dataclass(frozen=True)
class RemoteFile:
    """One file at one commit.

    Attributes:
        etag: the file's sha256, or git's blob id for a small file.
    """

    repo: str
    revision: str
    name: str
    size: int
    etag: str


class Hub:
    """A hub's endpoint; the default is HF_ENDPOINT, else Hugging Face's own.

    huggingface-hub reads tokens and timeouts: HF_TOKEN, HF_HUB_DOWNLOAD_TIMEOUT.
    """

    def __init__(self, endpoint: str | None = None, *, progress: bool = True) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._progress = progress
        if urlsplit(self.endpoint).scheme not in ("http", "https"):
            raise FetchError(f"HF_ENDPOINT is {self.endpoint!r}, expected a URL with http or https")

    def list_files(self, repo: str, revision: str) -> Listing:
        """Resolves a branch, tag or commit, and lists the files of its commit.

        Raises:
            FetchError: no such repository or revision, no access, or no answer.
        """
        retries = _Retries(self.endpoint, repo, revision)
        while True:
            try:
                info = HfApi(endpoint=self.endpoint).model_info(
                    repo, revision=revision, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
                )
                names = frozenset(file.rfilename for file in info.siblings or ())
                return Listing(repo, str(info.sha), names)
            except HFValidationError as error:
                raise FetchError(f"{repo!r} is not a valid repository name: {error}") from error
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise FetchError(
                    f"{self.endpoint} does not answer like a hub ({error!r}): check HF_ENDPOINT"
                ) from error
            except TRANSPORT_ERRORS as error:
                retries.wait(error)

    def describe_file(self, listing: Listing, name: str) -> RemoteFile:
        """Asks the hub for the size and hash of one file.

        Raises:
            FetchError: no such file, no access, no answer, another commit, or no hash to verify
                the file with.
        """
        repo, revision = listing.repo, listing.revision
        url = hf_hub_url(repo, name, revision=revision, endpoint=self.endpoint)
        retries = _Retries(self.endpoint, repo, revision, name)
        while True:
            try:
                metadata = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
                break
            except TRANSPORT_ERRORS as error:
                retries.wait(error)
        if metadata.commit_hash not in (revision, None):
            raise FetchError(f"{repo} has {name} at {metadata.commit_hash}, not at {revision}")
        etag = metadata.etag or ""
        if metadata.size is None or len(etag) not in (SHA256_DIGITS, BLOB_DIGITS):
            raise FetchError(
                f"{self.endpoint} gives no size or no hash of {name} in {repo}, so the file can't "
                "be verified: check HF_ENDPOINT"
            )
        return RemoteFile(repo, revision, name, metadata.size, etag)

    def download(self, remote: RemoteFile, part: Path) -> None:
        """Appends the missing bytes to `part`, over as many connections as needed.

        huggingface-hub's own download is not used: recent versions do not resume a download that
        another process began.

        Raises:
            FetchError: no access, or no answer. `part` keeps the bytes for the next run.
        """
        retries = _Retries(self.endpoint, remote.repo, remote.revision, remote.name)
        before = _received_bytes(part)
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
                except TRANSPORT_ERRORS as error:
                    fault = error
                size = _received_bytes(part)
                if size > before:  # bytes arrived, so the retries start again
                    retries = _Retries(self.endpoint, remote.repo, remote.revision, remote.name)
                if size < remote.size:
                    retries.wait(fault)
                before = size

    def _receive(self, remote: RemoteFile, part: Path, bar: tqdm[NoReturn]) -> None:
        url = hf_hub_url(remote.repo, remote.name, revision=remote.revision, endpoint=self.endpoint)
        received = _received_bytes(part)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if received:
            headers["Range"] = f"bytes={received}-"
        with _stream(url, headers) as (response, chunks), part.open("ab") as file:
            hf_raise_for_status(response)
            if received and response.status_code != 206:  # the hub ignored the range
                file.truncate(0)
                bar.update(-received)
            for chunk in chunks:
                file.write(chunk)
                bar.update(len(chunk))


def _received_bytes(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


@contextmanager
def _stream(url: str, headers: dict[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """Yields a response and its body; the session's class depends on huggingface-hub's version."""
    session: Any = get_session()
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    if callable(getattr(session, "stream", None)):  # in requests `stream` is a flag
        with session.stream("GET", url, headers=headers, timeout=timeout) as response:
            yield response, response.iter_bytes()  # unbuffered, so that a cut loses no bytes
    else:  # requests, before 1.0
        with session.get(url, headers=headers, timeout=timeout, stream=True) as response:
            yield response, response.iter_content(CHUNK_BYTES)


class _Retries:
    """The retries of one request, and the error when there are none left.

    Args:
        endpoint: the hub, for errors.
        repo: the repository, for errors.
        revision: the revision, for errors.
        name: the file, for errors; empty for the listing.
    """

    def __init__(self, endpoint: str, repo: str, revision: str, name: str = "") -> None:
        self._endpoint, self._repo, self._revision, self._name = endpoint, repo, revision, name
        self._delays = iter(RETRY_DELAYS)

    def wait(self, error: Exception) -> None:
        """Sleeps until the next retry.

        Raises:
            FetchError: no retry can help, or none is left.
            OSError: the fault is this machine's.
        """
        if isinstance(error, HfHubHTTPError):
            is_retriable = error.response.status_code in RETRIABLE_STATUSES
            delay = next(self._delays, None) if is_retriable else None
            requested_delay = _parse_requested_delay(error.response.headers)
            if delay is None or requested_delay > MAX_RETRY_DELAY:
                raise FetchError(self._describe_refusal(error, requested_delay)) from error
            time.sleep(max(delay, requested_delay))
            return
        if isinstance(error, OSError) and not isinstance(error, ConnectionError) and error.errno:
            raise error  # a full disk, for example
        delay = next(self._delays, None)
        if delay is None:
            raise FetchError(
                f"{self._endpoint} can't be reached, or drops connections "
                f"({str(error) or type(error).__name__}): check the network and HF_ENDPOINT, "
                "and run this again"
            ) from error
        time.sleep(delay)

    def _describe_refusal(self, error: HfHubHTTPError, requested_delay: float) -> str:
        status = error.response.status_code
        match status, error.response.headers.get("X-Error-Code"):
            case _, "GatedRepo":
                message = (
                    f"{self._repo} is gated: accept its terms at {self._endpoint}/{self._repo} "
                    "and set HF_TOKEN to a token of the same account"
                )
            case 401 | 403, _:
                message = (
                    f"{self._repo} is private or does not exist (status {status}): "
                    "check the name, or set HF_TOKEN to a token that may read it"
                )
            case 404, "RevisionNotFound":
                message = (
                    f"{self._repo} has no revision {self._revision}: name another one with @, or "
                    "pin the current revision with --update"
                )
            case 404, "EntryNotFound":
                message = f"{self._repo} has no file {self._name} at {self._revision}"
            case 404, _:
                message = f"{self._endpoint} has no repository {self._repo}"
            case 429, _:
                period = f" for {requested_delay:.0f} s" if requested_delay else ""
                message = f"{self._endpoint} accepts no more requests{period}: try again later"
            case _:
                message = (
                    f"{self._endpoint} answers with status {status} for {self._repo}: "
                    "try again later"
                )
        return message


def _parse_requested_delay(headers: Any) -> float:  # noqa: ANN401 - requests' or httpx's
    """Returns the seconds that the hub asks to wait, in either of the two headers that it uses."""
    text = headers.get("Retry-After") or headers.get("RateLimit", "").rpartition("t=")[2]
    return float(text) if text.isdecimal() else 0.0
