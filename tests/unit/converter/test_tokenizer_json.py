"""The steps of a tokenizer.json, against the `tokenizers` library itself."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from support.samples import added_token, tokenizer_json, write_json
from support.vocabularies import CONFIG, ROWS
from t5gguf.errors import ConversionError
from t5gguf.vocab import Vocabulary

SPACE = "\u2581"
WORDS = {"type": "WhitespaceSplit"}
TEXTS = [
    "how to cook rice",
    "  How  TO cook\trice ",
    "\ufb01nd \uff11\uff12 caf\u00e9s",
    "how<sep>to <sep> cook<sep>",
    " <sep>  how <hl>to<hl> cook",
    "<<sep>>\uff1csep\uff1e",
    "rice <mask>  and rice<mask>",
]
ADDED = [
    added_token(200, "<sep>", normalized=True),
    added_token(201, "<hl>", special=True),
    added_token(202, "<mask>", lstrip=True, special=True),
    added_token(203, "<", normalized=True),
    added_token(204, "to", single_word=True),
    added_token(205, "cook", rstrip=True),
]


def metaspace(scheme: str | None) -> dict[str, Any]:
    step = {"type": "Metaspace", "replacement": SPACE, "add_prefix_space": scheme != "never"}
    return step if scheme is None else step | {"prepend_scheme": scheme}


def sequence(plural: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", plural: list(steps)}


PRE_TOKENIZERS = {
    "always": metaspace("always"),
    "first": metaspace("first"),
    "never": metaspace("never"),
    "add_prefix_space": metaspace(None),
    "words": sequence("pretokenizers", WORDS, metaspace("always")),
}
STRIP: dict[str, Any] = {"type": "Strip", "strip_left": False, "strip_right": True}
REPLACE: dict[str, Any] = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": SPACE}
NORMALIZERS: dict[str, list[dict[str, Any]]] = {
    "T5's": [STRIP, REPLACE],
    "character map": [],
    "no strip": [REPLACE],
    "replaced by a space": [STRIP, REPLACE | {"content": " "}],
}


def build(spiece: Path, pre_tokenizer: Any, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """A tokenizer.json with a character map, further steps, and added tokens."""
    document = tokenizer_json(spiece)
    charsmap = document["normalizer"]["normalizers"][1]
    document["normalizer"] = sequence("normalizers", charsmap, *steps)
    document["pre_tokenizer"] = pre_tokenizer
    document["added_tokens"] += ADDED
    return document


@pytest.mark.parametrize("pre_tokenizer", PRE_TOKENIZERS)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_the_engine_s_tokenizer_does_the_steps_of_the_file(
    spiece: Path, tmp_path: Path, pre_tokenizer: str, normalizer: str
) -> None:
    """Token ids are those of the `tokenizers` library, added tokens with each flag included."""
    document = build(spiece, PRE_TOKENIZERS[pre_tokenizer], NORMALIZERS[normalizer])
    write_json(tmp_path / "tokenizer.json", document)
    reference = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    vocabulary = Vocabulary.load(tmp_path, CONFIG, ROWS)
    for text in TEXTS:
        expected = reference.encode(text).ids
        assert vocabulary.encode(text) == expected
        assert [*vocabulary._tokenizer.encode(text), 1] == expected, text


def test_bytes_of_unknown_characters(spiece: Path, tmp_path: Path) -> None:
    """With `byte_fallback` an unknown character is spelled, as the `tokenizers` library does."""
    document = build(spiece, metaspace("always"), [STRIP])
    document["added_tokens"] = document["added_tokens"][:3]
    vocab = document["model"]["vocab"]
    document["model"] |= {"byte_fallback": True}
    vocab += [[f"<0x{byte:02X}>", 0.0] for byte in range(256)]
    write_json(tmp_path / "tokenizer.json", document)
    reference = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    config = dataclasses.replace(CONFIG, vocab_size=460)
    vocabulary = Vocabulary.load(tmp_path, config, 512)
    for text in ("\u0f00", "rice \u0f00\u0f01 tea", "x\U0001f355y"):
        expected = reference.encode(text).ids
        assert 2 not in expected
        assert [*vocabulary._tokenizer.encode(text), 1] == expected


TEMPLATE: dict[str, Any] = {
    "type": "TemplateProcessing",
    "pair": [],
    "special_tokens": {
        "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]},
        "<pad>": {"id": "<pad>", "ids": [0], "tokens": ["<pad>"]},
    },
}
START = {"SpecialToken": {"id": "<pad>", "type_id": 0}}
END = {"SpecialToken": {"id": "</s>", "type_id": 0}}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
STEPS: dict[str, dict[str, Any]] = {
    "Lowercase": {"normalizer": {"type": "Lowercase"}},
    "NFKC": {"normalizer": sequence("normalizers", {"type": "NFKC"})},
    "Replace": {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "b"}},
    "Digits": {
        "pre_tokenizer": sequence(
            "pretokenizers", metaspace("always"), {"type": "Digits", "individual_digits": True}
        )
    },
    "Punctuation": {
        "pre_tokenizer": sequence(
            "pretokenizers", {"type": "Punctuation", "behavior": "Isolated"}, metaspace("always")
        )
    },
    "pre_tokenizer None": {"pre_tokenizer": None},
    "Metaspace '_'": {"pre_tokenizer": metaspace("always") | {"replacement": "_"}},
    "Metaspace 'first'": {"pre_tokenizer": sequence("pretokenizers", WORDS, metaspace("first"))},
    "post_processor None": {"post_processor": None},
    "BertProcessing": {
        "post_processor": {"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<pad>", 0]}
    },
    "TemplateProcessing": {"post_processor": TEMPLATE | {"single": [START, TEXT, END]}},
    "decoder without one Metaspace": {"decoder": None},
    "decoder Metaspace '_'": {"decoder": metaspace("always") | {"replacement": "_"}},
    "decoder ByteLevel": {"decoder": {"type": "ByteLevel"}},
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("beside", ["alone", "spiece.model"])
def test_a_step_that_is_not_done_is_refused_by_name(
    spiece: Path, tmp_path: Path, step: str, beside: str
) -> None:
    """A tokenizer.json is what transformers uses, spiece.model beside it or not."""
    if beside == "spiece.model":
        (tmp_path / "spiece.model").write_bytes(spiece.read_bytes())
    write_json(tmp_path / "tokenizer.json", tokenizer_json(spiece) | STEPS[step])
    with pytest.raises(ConversionError, match=step):
        Vocabulary.load(tmp_path, CONFIG, ROWS)


def test_added_tokens_of_tokenizer_json_are_read(spiece: Path, tmp_path: Path) -> None:
    """New checkpoints have them there and nowhere else; they were lost as unused rows."""
    write_json(tmp_path / "tokenizer.json", build(spiece, metaspace("always"), [STRIP]))
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"})
    vocabulary = Vocabulary.load(tmp_path, CONFIG, ROWS)
    assert vocabulary.tokens[200:206] == ("<sep>", "<hl>", "<mask>", "<", "to", "cook")
    assert not {*range(200, 206)} & {*vocabulary.select_suppressed_ids(320)}
