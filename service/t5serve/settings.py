"""The settings, read from environment variables with the prefix T5SERVE_."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from limits import RateLimitItem, parse
from pydantic import (
    BeforeValidator,
    DirectoryPath,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from t5engine.config import KernelsName
from t5engine.header import convert_first
from t5gguf import recipe as recipes
from t5gguf.recipe import Recipe, RecipeError
from t5serve.errors import StartupError, excerpt
from t5serve.logs import LogFormat
from t5serve.origins import parse_origin
from t5serve.setting_values import describe_fault

Positive = Annotated[int, Field(ge=1)]
MAX_PROCESSORS = 8192  # the kernel's own limit on x86


def parse_rate(value: object) -> object:
    """Parses a rate in the notation of the library `limits`.

    Raises:
        ValueError: the text is no rate.
    """
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError:
        raise ValueError(f"{value!r} is no rate; write one like 60/minute") from None


def parse_cpu_set(text: str) -> tuple[int, ...]:
    """Parses a list of processors in the kernel's notation: numbers and ranges, with commas.

    Raises:
        ValueError: the text is no such list.
    """
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ValueError(f"{text!r} is no list of processors; write one like 0-3,8")
        end = int(last or first)
        if not int(first) <= end < MAX_PROCESSORS:
            raise ValueError(f"{part.strip()} is no range of processors")
        cpus |= set(range(int(first), end + 1))
    return tuple(sorted(cpus))


class Settings(BaseSettings):
    """The settings of the service; they are immutable. An empty variable is as good as unset."""

    model_config = SettingsConfigDict(
        env_prefix="T5SERVE_",
        env_ignore_empty=True,  # `T5SERVE_HOST=` would listen on every interface
        frozen=True,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,  # the command line shows them
    )

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The port to listen on; 0 chooses a free port."""
    model: Annotated[str, Field(min_length=1)] = "tiny-t5"
    """The path of a GGUF file, or the name of a recipe (a file that describes a known model)."""
    backend: Literal["auto", "graph", "llama"] = "auto"
    """The inference backend: `graph` (t5serve's own) or `llama` (llama.cpp's). `auto` uses `graph`,
    or `llama` for a file that `graph` refuses."""
    kernels: KernelsName = "auto"
    """The code for matrix products (the kernels). `ggml` uses the code of llama.cpp's library
    ggml. `avx512`, `avxvnni`, `avx2` and `neon` use t5serve's own code for that instruction set,
    which the processor must have. `auto` uses t5serve's own code for the best instruction set of
    the processor."""
    max_batch: Annotated[int, Field(ge=1, le=64)] = 16
    """The maximum number of sequences that a worker decodes together (the batch). Each beam or
    sample of an input is a sequence. An input with more sequences than this maximum is decoded
    without other inputs. If the batch is full and one request has more than half of it, the worker
    takes up to four more sequences from other requests, beyond this maximum. So a large request
    does not block small ones."""
    batch_window_ms: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """The time that an idle worker waits for further inputs before it starts a batch, in
    milliseconds. An idle worker waits only if it had several inputs at once when it
    was last busy."""
    prompt_lookup_num_tokens: Annotated[int, Field(ge=0, le=15)] = 3
    """The maximum number of draft tokens. A draft token is a guess of the next output token, copied
    from the input. One step checks all guesses, so right guesses save steps. Only a sequence that
    is decoded alone has guesses. 0 turns them off. The method is called prompt lookup."""
    ggml_backends: DirectoryPath | None = None
    """The directory of llama.cpp's CPU libraries. It is needed only if your build of llama.cpp has
    several such libraries, one for each generation of processors. The default is the directory of
    llama.cpp's main library (libllama). The libraries have nothing to do with `T5SERVE_BACKEND`."""
    logit_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The factor by which logits (the scores of the next token) are multiplied. By default the
    model file decides it."""
    models_file: Path | None = None
    """A TOML file with several models, one `[[models]]` table per model. Set either this or
    T5SERVE_MODEL, not both. SIGHUP and POST /admin/reload read the file again."""
    models_bytes: Positive | None = None
    """The maximum memory of all models, in bytes. If a model needs room, the least recently used
    model with `load = "first_use"` in `T5SERVE_MODELS_FILE` is unloaded. A model with `w` workers
    counts as `w + 1` times the size of its file. By default there is no limit."""
    workers: Positive | None = None
    """The number of worker processes, which run the model. The default is one. Small models have
    another default: one worker per core, at most eight, each with one thread. A model is small if a
    decoding step takes less than a millisecond on one thread. If `T5SERVE_THREADS` or
    `T5SERVE_MODELS_BYTES` is set, the default is one for small models too."""
    threads: Positive | None = None
    """The maximum number of threads per worker. If a worker measures that one thread is faster, it
    uses one. The default is the number of physical cores that the service may use, divided by the
    number of workers."""
    cpu_set: Annotated[tuple[int, ...], NoDecode] = ()
    """The processors that are reserved for this service, such as `0-3,8`. Workers are pinned to
    them. By default, workers are pinned only if they use all cores that the service may use."""
    max_queue: Positive = 64
    """The maximum number of inputs (one per query or prompt) that wait for a worker. Beyond this
    limit `/v1/reformulate` returns the original query; other routes, and requests with
    `strict`, get 429."""
    max_input_tokens: Annotated[int, Field(ge=1, le=4096)] = 512
    """The maximum number of tokens of an input, prefix included. A longer input is refused, unless
    the task allows the service to shorten it (`truncate`)."""
    cache_bytes: Annotated[int, Field(ge=0)] = 64_000_000
    """The maximum memory of the cache of results, in bytes; 0 turns the cache off."""
    max_body_bytes: Positive = 1_000_000
    """The maximum size of a request body, in bytes."""
    max_queries: Positive = 32
    """The maximum number of queries or prompts in a request."""
    max_request_tokens: Positive = 81_920
    """The maximum number of tokens that a request may decode: inputs x sequences (beams or samples)
    per input x `max_tokens`."""
    api_keys_file: Path | None = None
    """A file of API keys, one per line. Without this file every route is open, except
    /admin/reload."""
    admin_keys_file: Path | None = None
    """A file of keys for /admin/reload, one per line. Without this file /admin/reload is
    closed."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """The names that the Host header may have, without ports, separated by commas. `.name` allows
    subdomains, `*` allows any name. By default any name is allowed; a service on loopback without
    keys allows only loopback names."""
    rate_limit: Annotated[RateLimitItem | None, BeforeValidator(parse_rate)] = None
    """The maximum rate of requests, such as `60/minute`, per key or per client address if the
    service has no keys. By default there is no limit."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """The origins whose web pages may call the service, separated by commas."""
    lexicon: Path | None = None
    """A file of words that count as correctly spelled. Each line has a word, a tab and how often
    the word occurs in your texts. Corrections never change these words, and guards accept them as
    real words. The task `fix`, which corrects typing errors, also corrects misspelt words to words
    of this file."""
    chat_template: str = ""
    """Some clients put an instruction around the query in the last message of a chat. This setting
    is such an instruction, with `{query}` at the place of the query, so that the service finds the
    query. By default it recognises the instructions of LangChain, LlamaIndex and Haystack."""
    timeout_ms: Positive = 10_000
    """The default and maximum deadline of a request, in milliseconds."""
    stall_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """How long a worker may be silent before it is replaced, in seconds. The real limit is longer.
    The service adds half a second, because workers send a message every half second. The service
    also adds three times the expected time of the longest model call. A silent worker can be busy:
    one of its threads computes, or waits for a processor or a disk. Then it is probably only slow,
    and the limit is ten times as long."""
    keep_alive_seconds: Positive = 75
    """The time that a connection may be idle between requests, in seconds. Choose a longer time
    than your proxy keeps idle connections. Otherwise the proxy can send a request on a connection
    that the service is closing, and lose the request."""
    head_seconds: Positive = 10
    """The time within which the head of a request must arrive, in seconds. For the first request
    on a connection, the time starts when the connection opens. For each later request, it starts
    with the first byte of the request."""
    max_connections: Positive = 1000
    """The maximum number of open connections. A low limit on file descriptors lowers this number,
    because workers need descriptors too."""
    drain_seconds: Positive = 30
    """The time after SIGTERM within which running requests can finish, in seconds."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged."""
    log_format: LogFormat = "console"
    """The format of log lines: `console` for people, `json` for machines."""

    @field_validator("cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("cors_origins")
    @classmethod
    def _normalise_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(parse_origin, origins))

    @field_validator("host")
    @classmethod
    def _strip_brackets(cls, host: str) -> str:
        """Takes an IPv6 address as it stands in a URL."""
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    @field_validator("backend", "kernels", "log_level", "log_format", mode="before")
    @classmethod
    def _ignore_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("cpu_set", mode="before")
    @classmethod
    def _parse_cpu_set(cls, value: object) -> object:
        return parse_cpu_set(value) if isinstance(value, str) else value

    @field_validator("chat_template")
    @classmethod
    def _require_placeholder(cls, template: str) -> str:
        if template and template.count("{query}") != 1:
            raise ValueError(f"{excerpt(template)!r} must contain {{query}} exactly once")
        return template

    @model_validator(mode="after")
    def _check_queue_size(self) -> Self:
        if self.max_queue < self.max_queries:
            raise ValueError(
                f"T5SERVE_MAX_QUEUE is {self.max_queue}, but must not be below "
                f"T5SERVE_MAX_QUERIES, which is {self.max_queries}"
            )
        return self

    @model_validator(mode="after")
    def _refuse_model_beside_models_file(self) -> Self:
        if self.models_file is not None and "model" in self.model_fields_set:
            raise ValueError("T5SERVE_MODEL and T5SERVE_MODELS_FILE exclude each other; set one")
        return self

    def find_model(self) -> tuple[Path, Recipe | None]:
        """Returns the GGUF file to serve, and the recipe if `model` names one.

        Raises:
            StartupError: there is no such file or recipe, or the file of the recipe is missing.
        """
        path = Path(self.model)
        try:
            if path.is_file():
                return path, None
        except OSError as error:
            raise StartupError(f"{path}: {error.strerror}") from error
        if path.suffix == ".gguf" or "/" in self.model:
            raise StartupError(_describe_path(path))
        try:
            recipe = recipes.load(self.model)
        except RecipeError as error:
            raise StartupError(_describe_path(path) if path.is_dir() else str(error)) from error
        if not recipe.model_path().is_file():
            raise StartupError(
                f"{recipe.model_path()} does not exist yet; run {recipe.fetch_command()}"
            )
        return recipe.model_path(), recipe


def read_settings(overrides: Mapping[str, Any]) -> Settings:
    """Reads the settings of the environment; the overrides come before the environment.

    Raises:
        StartupError: a setting is invalid.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise StartupError(describe_faults(error)) from None


def describe_faults(
    error: ValidationError, label: Callable[[str], str] = lambda name: f"T5SERVE_{name.upper()}"
) -> str:
    """Returns what is wrong with settings, in one line.

    Args:
        error: of Settings.
        label: returns how a person knows a setting; by default its variable.
    """
    return "; ".join(_describe_fault(fault, label) for fault in error.errors())


def _describe_fault(fault: ErrorDetails, label: Callable[[str], str]) -> str:
    name = "_".join(map(str, fault["loc"]))  # none where several settings are at fault
    prefix = f"{label(name)}: " if name else ""
    field = Settings.model_fields.get(name)
    if field is None or fault["type"] == "value_error":  # a validator of ours has said it all
        return prefix + fault["msg"].removeprefix("Value error, ")
    return prefix + describe_fault(field, fault["input"])


def _describe_path(path: Path) -> str:
    """Returns why a path is not a model's file."""
    if path.is_dir():
        return f"{path} {convert_first(path)}"
    reason = "is not a file" if path.exists() else "does not exist"
    return f"{path} {reason}; a model is a GGUF file or the name of a recipe (`t5serve models`)"
