"""Loading ggml's CPU backend where it is not linked in."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from shutil import which

import pytest

from t5engine.graph import ggml
from t5engine.graph.ggml import GgmlError
from t5engine.graph.variants import load_variant
from t5engine.worker import model
from t5gguf import recipe

# A registry that has a CPU device once a directory with a file `variant` was loaded. The device's
# address does not fit in an int.
REGISTRY = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int has_device = LINKED_IN;
void * ggml_backend_dev_by_type(int type) {
    return has_device && type == 0 ? (void *) 0x700000000000 : 0;
}
void ggml_backend_load_all_from_path(const char * directory) {
    char path[4096];
    if (LINKED_IN) abort();
    snprintf(path, sizeof path, "%s/variant", directory);
    has_device = access(path, F_OK) == 0;
}
"""


@pytest.fixture
def variants(tmp_path: Path) -> Path:
    """A directory that has a CPU backend."""
    directory = tmp_path / "wärme"
    directory.mkdir()
    (directory / "variant").touch()
    return directory


def build_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, linked_in: bool) -> None:
    """Compiles the library that is opened instead of libllama."""
    source, library = tmp_path / "registry.c", tmp_path / "registry.so"
    source.write_text(REGISTRY)
    flags = ["-shared", "-fPIC", f"-DLINKED_IN={int(linked_in)}"]
    subprocess.run([which("gcc") or "cc", *flags, "-o", str(library), str(source)], check=True)
    monkeypatch.setattr(ggml, "open_libllama", lambda: ctypes.CDLL(str(library)))


def test_loaded_from_the_directory(
    variants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configured directory is searched."""
    build_registry(tmp_path, monkeypatch, linked_in=False)
    load_variant(variants)


def test_loaded_from_beside_libllama(
    variants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a configured directory, the one of libllama is searched: the image has them there."""
    build_registry(tmp_path, monkeypatch, linked_in=False)
    monkeypatch.setattr(ggml, "LIBRARY_DIRECTORY", variants)
    load_variant(None)


def test_not_loaded_where_one_is_linked_in(
    variants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is loaded if a backend is linked in: a second one would add a second device."""
    build_registry(tmp_path, monkeypatch, linked_in=True)
    load_variant(variants)


def test_no_backend_for_this_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the directory and the setting, also when a model is loaded."""
    build_registry(tmp_path, monkeypatch, linked_in=False)
    with pytest.raises(GgmlError, match=rf"{tmp_path} has no CPU backend.*T5SERVE_GGML_BACKENDS"):
        load_variant(tmp_path)
    with pytest.raises(model.LoadError, match=f"{tmp_path} has no CPU backend"):
        model.load_model(
            recipe.load("tiny-t5").model_path(),
            threads=1,
            max_input_tokens=8,
            max_tokens=8,
            logit_scale=None,
            backend="auto",
            rows=1,
            ggml_backends=tmp_path,
        )
