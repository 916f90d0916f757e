from pathlib import Path

import pytest

from support import tiny
from support.samples import write_json
from t5gguf.checkpoint import Checkpoint
from t5gguf.config import Config
from t5gguf.errors import ConversionError
from t5gguf.vocab import Vocabulary

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 242\n"
FILES = ["config.json", "spiece.model", "model.safetensors", "pytorch_model.bin"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny.build("tied_relu", tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_git_lfs_pointer_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).write_bytes(POINTER)
    with pytest.raises(ConversionError, match=rf"{name} is a Git LFS pointer.*git lfs pull"):
        Checkpoint.open(checkpoint)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>404</title>", b"\n <html><body>"])
def test_a_web_page_is_named(checkpoint: Path, name: str, page: bytes) -> None:
    (checkpoint / name).write_bytes(page)
    with pytest.raises(ConversionError, match=rf"{name} is a web page.*download the file again"):
        Checkpoint.open(checkpoint)


@pytest.mark.parametrize("has_config", [True, False])
def test_a_lora_adapter_is_to_be_merged_first(checkpoint: Path, *, has_config: bool) -> None:
    write_json(checkpoint / "adapter_config.json", {"peft_type": "LORA"})
    (checkpoint / "model.safetensors").rename(checkpoint / "adapter_model.safetensors")
    if not has_config:
        (checkpoint / "config.json").unlink()
    with pytest.raises(ConversionError, match=r"LoRA adapter.*merge_and_unload"):
        Checkpoint.open(checkpoint)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tf_model.h5", r"TensorFlow only \(tf_model\.h5\): .*from_tf=True"),
        ("flax_model.msgpack", r"Flax only \(flax_model\.msgpack\): .*from_flax=True"),
    ],
)
def test_weights_of_another_framework_are_named(checkpoint: Path, name: str, message: str) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / name)
    with pytest.raises(ConversionError, match=message):
        Checkpoint.open(checkpoint)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"vocab.json": {}, "merges.txt": {}}, r"a BPE vocabulary \(as of CodeT5\)"),
        ({"vocab.txt": {}}, r"a WordPiece vocabulary"),
        ({"tokenizer_config.json": {"tokenizer_class": "ByT5Tokenizer"}}, r"vocabulary of bytes"),
    ],
)
def test_other_vocabularies_are_named(
    checkpoint: Path, files: dict[str, object], message: str
) -> None:
    (checkpoint / "spiece.model").unlink()
    for name, content in files.items():
        write_json(checkpoint / name, content)
    config = Config.load(checkpoint)
    with pytest.raises(ConversionError, match=f"{message}.*SentencePiece Unigram") as error:
        Vocabulary.load(checkpoint, config, 320)
    assert "\n" not in str(error.value)
