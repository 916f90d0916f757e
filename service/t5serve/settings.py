"""Settings from the environment, prefix T5SERVE_."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from t5gguf import recipe as recipes
from t5gguf.recipe import Recipe, RecipeError
from t5serve.errors import StartupError
from t5serve.logs import LogFormat

Positive = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """What an operator can set; fixed once the service runs."""

    model_config = SettingsConfigDict(env_prefix="T5SERVE_", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    model: str = "tiny-t5"
    """A GGUF file's path, or a recipe's name."""
    backend: Literal["auto", "graph", "llama"] = "auto"
    """auto: graph, or llama for a file that graph refuses."""
    kernels: Literal["auto", "ggml"] = "auto"
    """auto: our own matrix products where the processor has what they need, else ggml's."""
    max_batch: Annotated[int, Field(ge=1, le=64)] = 16
    """Sequences that a worker decodes together; a request for more is decoded by itself."""
    batch_window_ms: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """How long a worker waits for company when it begins anew, if there was some before."""
    prompt_lookup_num_tokens: Annotated[int, Field(ge=0, le=15)] = 3
    """Tokens of the input that a lone sequence tries in one step with its next one; 0: none."""
    ggml_backends: Path | None = None
    """Directory of ggml's CPU backends, of a build that has several; None: beside libllama."""
    logit_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Factor on the file's logits; by default what the file's head asks for."""
    workers: Positive = 1
    threads: Positive | None = None
    """Per worker; by default the physical cores that this process may use, shared out."""
    max_queue: Positive = 64
    """Jobs (one per query) that may wait for a worker; one more is refused with 429."""
    max_input_tokens: Annotated[int, Field(ge=1, le=4096)] = 512
    max_body_bytes: Positive = 1_000_000
    max_queries: Positive = 32
    """Queries or prompts in a request."""
    max_request_tokens: Positive = 81_920
    """Inputs x sequences x tokens that one request may ask for."""
    api_keys_file: Path | None = None
    """One key a line; with none every route is open."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose pages may call the service, between commas."""
    chat_template: str = ""
    """A text with {query} in it: where in a chat's last message the query stands."""
    timeout_ms: Positive = 10_000
    """Deadline of a request that names none, and the longest that one may name."""
    drain_seconds: Positive = 30
    """After SIGTERM, how long requests that run may take to finish."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = "console"

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _between_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(origin.strip() for origin in value.split(",") if origin.strip())
        return value

    @field_validator("chat_template")
    @classmethod
    def _has_a_place(cls, template: str) -> str:
        if template and template.count("{query}") != 1:
            raise ValueError("must have {query} in it, once")
        return template

    @model_validator(mode="after")
    def _one_request_fits_the_queue(self) -> Self:
        if self.max_queue < self.max_queries:
            raise ValueError("T5SERVE_MAX_QUEUE must not be below T5SERVE_MAX_QUERIES")
        return self

    def find_model(self) -> tuple[Path, Recipe | None]:
        """The GGUF file to serve, and the recipe that named it.

        Raises:
            StartupError: neither a file nor a recipe, or a recipe whose file is not there.
        """
        path = Path(self.model)
        try:
            if path.is_file():
                return path, None
        except OSError as error:
            raise StartupError(f"{path}: {error.strerror}") from error
        if path.suffix == ".gguf" or "/" in self.model:
            raise StartupError(f"{path} is {'not a file' if path.exists() else 'not there'}")
        try:
            recipe = recipes.load(self.model)
        except RecipeError as error:
            raise StartupError(str(error)) from error
        if not recipe.model_path().is_file():
            raise StartupError(
                f"{recipe.model_path()} is not there yet: run {recipe.fetch_command()}"
            )
        return recipe.model_path(), recipe
