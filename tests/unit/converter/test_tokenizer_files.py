import re
from pathlib import Path

import pytest
from gguf import TokenType
from sentencepiece import sentencepiece_model_pb2

from support.samples import read_proto, tokenizer_json, write_json
from support.vocabularies import CONFIG, ROWS
from t5engine.tokenization.metadata import CLEANS_UP_SPACES, format_pipeline, read_pipeline
from t5gguf.errors import ConversionError
from t5gguf.tokenizer_json import ADDED_SCORE
from t5gguf.vocab import Vocabulary

PIECE = sentencepiece_model_pb2.ModelProto.SentencePiece

TEXTS = [
    "",
    " ",
    "how to cook rice",
    "  How  TO cook\trice ",
    "\ufb01nd \uff11\uff12 caf\u00e9s",
    "\u4eca\u5929 x",
    "it ends here </s>",
]


def test_the_number_of_sentinels_can_be_configured(directory: Path) -> None:
    write_json(directory / "tokenizer_config.json", {"extra_ids": 2})
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[200:203] == ("<extra_id_1>", "<extra_id_0>", "[PAD202]")


def test_added_tokens_take_their_names_from_added_tokens_json(directory: Path) -> None:
    """A name in the file takes precedence over T5's sentinel of that id."""
    write_json(directory / "added_tokens.json", {"<sep>": 200, "<query>": 305})
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert [vocabulary.tokens[index] for index in (200, 201, 305)] == [
        "<sep>",
        "<extra_id_98>",
        "<query>",
    ]
    assert vocabulary.token_types[305] is TokenType.USER_DEFINED
    assert vocabulary.scores[305] == ADDED_SCORE


def test_added_tokens_beyond_the_vocabulary_are_ignored(directory: Path) -> None:
    """The model has no embedding for them; the file's rows up to a multiple of 64 are padding."""
    write_json(directory / "added_tokens.json", {"<last>": 319, "<beyond>": 320})
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[319:321] == ("<last>", "[PAD320]")
    assert vocabulary.token_types[320] is TokenType.UNUSED


@pytest.mark.parametrize("source", ["pieces", "added_tokens.json", "tokenizer_config.json"])
def test_sentinels_that_are_named_are_not_added_again(directory: Path, source: str) -> None:
    """Two ids for `<extra_id_0>` make llama.cpp abort, so no further sentinels are added."""
    path = directory / "spiece.model"
    if source == "pieces":
        proto = read_proto(path)
        proto.pieces.add(piece="<extra_id_0>", score=0.0, type=PIECE.USER_DEFINED)
        path.write_bytes(proto.SerializeToString())
    elif source == "added_tokens.json":
        write_json(directory / source, {"<extra_id_0>": 200})
    else:
        table = {"200": {"content": "<extra_id_0>"}}
        write_json(directory / source, {"added_tokens_decoder": table})
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[200:202] == ("<extra_id_0>", "[PAD201]")
    assert set(vocabulary.token_types[201:]) == {TokenType.UNUSED}


def test_added_tokens_take_their_names_from_tokenizer_config_json(directory: Path) -> None:
    """Its table also lists special tokens among the pieces, which do not change."""
    table = {
        "0": {"content": "<pad>", "special": True},
        "2": {"content": "<unk>", "special": True},
        "310": {"content": "<query>", "special": True},
    }
    write_json(directory / "tokenizer_config.json", {"added_tokens_decoder": table})
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[310] == "<query>"
    assert vocabulary.token_types[310] is TokenType.USER_DEFINED
    assert vocabulary.token_types[:3] == (TokenType.CONTROL, TokenType.CONTROL, TokenType.UNKNOWN)


def test_tokenizer_model_is_another_name_of_spiece_model(directory: Path) -> None:
    (directory / "spiece.model").rename(directory / "tokenizer.model")
    assert Vocabulary.load(directory, CONFIG, ROWS).source == directory / "tokenizer.model"


def test_tokenizer_json_gives_the_same_vocabulary(spiece: Path, directory: Path) -> None:
    """Recent checkpoints are published without spiece.model."""
    expected = Vocabulary.load(directory, CONFIG, ROWS)
    (directory / "spiece.model").unlink()
    write_json(directory / "tokenizer.json", tokenizer_json(spiece))
    loaded = Vocabulary.load(directory, CONFIG, ROWS)
    assert loaded.source.name == "tokenizer.json"
    assert loaded.tokens == expected.tokens
    assert loaded.scores == expected.scores
    assert loaded.token_types == expected.token_types
    assert loaded.precompiled_charsmap == expected.precompiled_charsmap
    assert loaded.unk_token_id == expected.unk_token_id
    assert [loaded.encode(text) for text in TEXTS] == [expected.encode(text) for text in TEXTS]


def test_sentinels_among_the_pieces_of_tokenizer_json_are_no_text(
    spiece: Path, tmp_path: Path
) -> None:
    """Hugging Face writes the 100 sentinels into the Unigram table itself, with score 0."""
    write_json(tmp_path / "tokenizer.json", tokenizer_json(spiece, sentinels=100))
    vocabulary = Vocabulary.load(tmp_path, CONFIG, ROWS)
    assert vocabulary.tokens[200] == "<extra_id_99>"
    assert vocabulary.tokens[300] == "[PAD300]"
    assert set(vocabulary.token_types[200:300]) == {TokenType.USER_DEFINED}
    assert set(vocabulary.scores[200:300]) == {ADDED_SCORE}
    assert vocabulary.select_suppressed_ids(320) == [0, 2, *range(200, 320)]


def test_tokenizer_json_is_preferred_to_spiece_model(directory: Path, spiece: Path) -> None:
    """Transformers uses it where there is one; its scores may be others."""
    document = tokenizer_json(spiece)
    document["model"]["vocab"][10][1] = -3.25
    write_json(directory / "tokenizer.json", document)
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.source.name == "tokenizer.json"
    assert vocabulary.scores[10] == -3.25


def test_a_tokenizer_json_of_another_vocabulary_is_refused(directory: Path, spiece: Path) -> None:
    """One of the two files is wrong: transformers uses tokenizer.json, SentencePiece the other."""
    document = tokenizer_json(spiece)
    document["model"]["vocab"][7][0] = "other"
    write_json(directory / "tokenizer.json", document)
    with pytest.raises(ConversionError, match=r"as spiece\.model: id 7 is 'other' there"):
        Vocabulary.load(directory, CONFIG, ROWS)


def test_a_tokenizer_json_without_a_normalizer_has_no_character_map(
    spiece: Path, tmp_path: Path
) -> None:
    document = tokenizer_json(spiece) | {"normalizer": None}
    write_json(tmp_path / "tokenizer.json", document)
    assert Vocabulary.load(tmp_path, CONFIG, ROWS).precompiled_charsmap == b""


def test_a_directory_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConversionError, match=r"has none of spiece\.model, tokenizer\.model, tokenizer\.json"
    ):
        Vocabulary.load(tmp_path, CONFIG, ROWS)


def test_a_bpe_model_is_refused(directory: Path) -> None:
    """llama.cpp's T5 tokenizer is Unigram only: BPE pieces would be joined by score, wrongly."""
    path = directory / "spiece.model"
    proto = read_proto(path)
    proto.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ConversionError, match="is not a Unigram model"):
        Vocabulary.load(directory, CONFIG, ROWS)


def test_whitespace_as_a_suffix_is_refused(directory: Path) -> None:
    path = directory / "spiece.model"
    proto = read_proto(path)
    proto.trainer_spec.treat_whitespace_as_suffix = True
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ConversionError, match="writes whitespace as a suffix"):
        Vocabulary.load(directory, CONFIG, ROWS)


def test_a_file_that_is_no_model_is_refused(directory: Path) -> None:
    (directory / "spiece.model").write_bytes(b"<html>not loaded</html>")
    with pytest.raises(ConversionError, match="is not a SentencePiece model"):
        Vocabulary.load(directory, CONFIG, ROWS)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}},
        {"model": {"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0]]}},
        {"model": {"type": "Unigram", "unk_id": "a", "vocab": [["a", 0.0]]}},
        {"model": {"type": "Unigram", "unk_id": 0}},
        {"model": {"type": "Unigram", "unk_id": 0, "vocab": None}},
        {"model": {"type": "Unigram", "unk_id": 0, "vocab": ["a"]}},
        {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", "0"]]}},
        {"model": {"type": "Unigram", "unk_id": 0, "vocab": [[5, 0.0]]}},
        {"model": None},
        {"model": ["Unigram"]},
        {"added_tokens": ["<pad>"]},
        {"added_tokens": [{"content": "<pad>"}]},
        {"added_tokens": 5},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": None}},
        {"normalizer": {"type": "Precompiled"}},
        {"normalizer": {"type": "Sequence", "normalizers": [5]}},
        {"normalizer": {"type": "Sequence", "normalizers": None}},
        {"normalizer": "Precompiled"},
    ],
    ids=str,
)
def test_a_malformed_tokenizer_json_is_refused(
    spiece: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    """The model is of another type, or a part is missing or of another type."""
    write_json(tmp_path / "tokenizer.json", tokenizer_json(spiece) | change)
    with pytest.raises(ConversionError, match=r"tokenizer\.json is not a Unigram tokenizer: "):
        Vocabulary.load(tmp_path, CONFIG, ROWS)


@pytest.mark.parametrize("model_type", ["BPE", "WordPiece", "WordLevel"])
def test_another_kind_of_tokenizer_is_named(spiece: Path, tmp_path: Path, model_type: str) -> None:
    document = tokenizer_json(spiece) | {"model": {"type": model_type, "vocab": {}}}
    write_json(tmp_path / "tokenizer.json", document)
    with pytest.raises(ConversionError, match=f"its model is {model_type}, but the engine takes"):
        Vocabulary.load(tmp_path, CONFIG, ROWS)


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b"\xff"])
def test_a_tokenizer_json_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ConversionError, match="is not a Unigram tokenizer"):
        Vocabulary.load(tmp_path, CONFIG, ROWS)


@pytest.mark.parametrize("name", ["added_tokens.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_a_broken_file_of_added_tokens_is_refused_with_its_path(
    directory: Path, name: str, content: bytes
) -> None:
    (directory / name).write_bytes(content)
    with pytest.raises(ConversionError, match=rf"{re.escape(name)}: "):
        Vocabulary.load(directory, CONFIG, ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("added_tokens.json", {"<query>": "three hundred"}),
        ("added_tokens.json", {"<query>": None}),
        ("added_tokens.json", {"<query>": [300]}),
        ("tokenizer_config.json", {"added_tokens_decoder": ["<query>"]}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"300": "<query>"}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"300": {}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "<query>"}}}),
        ("tokenizer_config.json", {"extra_ids": "many"}),
        ("tokenizer_config.json", {"extra_ids": [100]}),
    ],
    ids=str,
)
def test_malformed_added_tokens_are_refused(directory: Path, name: str, content: object) -> None:
    write_json(directory / name, content)
    with pytest.raises(ConversionError, match=r"added_tokens\.json is malformed: "):
        Vocabulary.load(directory, CONFIG, ROWS)


def test_nulls_about_added_tokens_are_ignored(directory: Path) -> None:
    nulls = {"added_tokens_decoder": None, "extra_ids": None}
    write_json(directory / "tokenizer_config.json", nulls)
    assert Vocabulary.load(directory, CONFIG, ROWS).tokens[299] == "<extra_id_0>"


def test_an_added_token_of_whole_words_needs_a_tokenizer_json(directory: Path) -> None:
    """The slow tokenizer's rules for it are not those of the `tokenizers` library."""
    table = {"310": {"content": "<query>", "single_word": True}}
    write_json(directory / "tokenizer_config.json", {"added_tokens_decoder": table})
    with pytest.raises(ConversionError, match=r"'<query>' is of whole words only .*Fast"):
        Vocabulary.load(directory, CONFIG, ROWS)


@pytest.mark.parametrize(
    ("config", "cleans_up"),
    [
        (None, False),
        ({}, False),
        ({"clean_up_tokenization_spaces": None}, False),
        ({"clean_up_tokenization_spaces": False}, False),
        ({"clean_up_tokenization_spaces": True}, True),
    ],
)
def test_only_files_whose_answers_are_cleaned_up_say_so(
    directory: Path, config: dict[str, object] | None, *, cleans_up: bool
) -> None:
    """Without being told so, transformers 4.56 cleans nothing up."""
    if config is not None:
        write_json(directory / "tokenizer_config.json", config)
    pipeline = Vocabulary.load(directory, CONFIG, ROWS).pipeline
    metadata = format_pipeline(pipeline)
    assert metadata.get(CLEANS_UP_SPACES, "absent") == (True if cleans_up else "absent")
    read = read_pipeline(metadata | {"tokenizer.ggml.tokens": ["x"] * ROWS})
    assert read is not None
    assert read.cleans_up_spaces == pipeline.cleans_up_spaces == cleans_up
