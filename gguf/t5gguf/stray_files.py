"""Recognises files that are not what their names say, and directories that are no checkpoint."""

from __future__ import annotations

from pathlib import Path

from t5gguf.errors import ConversionError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
WEB_PAGE = (b"<!doctype html", b"<html")
CHECKED_SUFFIXES = (".json", ".model", ".safetensors", ".bin")
OTHER_FRAMEWORKS = {
    "tf_model.h5": ("TensorFlow", "from_tf"),
    "flax_model.msgpack": ("Flax", "from_flax"),
}
ADAPTER = "adapter_config.json"


def check_directory(directory: Path) -> None:
    """Checks that a directory may be a checkpoint.

    Raises:
        ConversionError: it is none, or a file in it is a Git LFS pointer or a web page; the
            message says what to do.
    """
    if directory.suffix == ".gguf" and directory.is_file():
        raise ConversionError(
            f"{directory} is a GGUF file, which needs no conversion; serve it with "
            f"`t5serve serve --model {directory}`"
        )
    if not directory.is_dir():
        raise ConversionError(f"{directory} is not a directory")
    for path in sorted(directory.iterdir()):
        if path.suffix in CHECKED_SUFFIXES and path.is_file():
            check_file(path)
    if (directory / ADAPTER).is_file() and not (directory / "config.json").is_file():
        raise ConversionError(
            f"{directory} is a LoRA adapter, not a model: merge it into its base model "
            "(peft's merge_and_unload), save that with its tokenizer, and convert it"
        )


def check_file(path: Path) -> None:
    """Checks that a file is not a stand-in for itself.

    Raises:
        ConversionError: the file is a Git LFS pointer or a web page.
    """
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(LFS_POINTER):
        raise ConversionError(
            f"{path} is a Git LFS pointer, not the file: run `git lfs pull`, or download the file"
        )
    if start.lstrip().lower().startswith(WEB_PAGE):
        raise ConversionError(
            f"{path} is a web page, not the file: download the file again, from the address of "
            "its content"
        )


def describe_missing_weights(directory: Path, names: tuple[str, ...]) -> str:
    """Returns what to say of a directory that has none of the weight files."""
    for name, (framework, argument) in OTHER_FRAMEWORKS.items():
        if (directory / name).is_file():
            return (
                f"{directory} has weights for {framework} only ({name}): in transformers 4, load "
                f"them with T5ForConditionalGeneration.from_pretrained(DIR, {argument}=True), and "
                "convert what save_pretrained writes"
            )
    if (directory / ADAPTER).is_file():
        return (
            f"{directory} has a LoRA adapter, but not its base model: merge them (peft's "
            "merge_and_unload), and convert what save_pretrained writes"
        )
    return f"{directory} has neither {' nor '.join(names)} (nor an index of either)"
