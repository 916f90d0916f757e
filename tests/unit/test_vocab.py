import base64
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from gguf import TokenType
from sentencepiece import sentencepiece_model_pb2

import tiny
from t5gguf.checkpoint import Config
from t5gguf.errors import ConversionError
from t5gguf.vocab import ADDED_SCORE, UNUSED_SCORE, Vocabulary

ROWS = 384
# The tiny vocabulary has 200 pieces; the embedding 320 rows, the file 384.
CONFIG = Config(
    architecture="T5ForConditionalGeneration",
    vocab_size=320,
    d_model=64,
    d_kv=16,
    d_ff=128,
    num_heads=4,
    num_layers=2,
    num_decoder_layers=2,
    relative_attention_num_buckets=32,
    relative_attention_max_distance=128,
    layer_norm_epsilon=1e-6,
    is_gated=False,
    tie_word_embeddings=True,
    n_positions=512,
    decoder_start_token_id=0,
    pad_token_id=0,
    eos_token_id=1,
)

TEXTS = [
    "",
    " ",
    "how to cook rice",
    "  How  TO cook\trice ",
    "\ufb01nd \uff11\uff12 caf\u00e9s",
    "\u4eca\u5929 x",
    "it ends here </s>",
]


@pytest.fixture(scope="module")
def spiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "spiece.model"
    tiny.vocabulary(path)
    return path


@pytest.fixture
def directory(spiece: Path, tmp_path: Path) -> Path:
    """A directory of its own with the tiny vocabulary in it."""
    (tmp_path / "spiece.model").write_bytes(spiece.read_bytes())
    return tmp_path


def read_proto(path: Path) -> Any:
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(path.read_bytes())
    return proto


def write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


def tokenizer_json(spiece: Path) -> dict[str, Any]:
    """What the `tokenizers` library would write for the same vocabulary."""
    proto = read_proto(spiece)
    charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": index, "content": content, "special": True, "normalized": False}
            for index, content in enumerate(["<pad>", "</s>", "<unk>"])
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Strip", "strip_left": False, "strip_right": True},
                {
                    "type": "Sequence",
                    "normalizers": [{"type": "Precompiled", "precompiled_charsmap": charsmap}],
                },
            ],
        },
        "model": {
            "type": "Unigram",
            "unk_id": 2,
            "vocab": [[piece.piece, piece.score] for piece in proto.pieces],
        },
    }


def test_pieces_keep_their_texts_scores_and_types(directory: Path) -> None:
    """By T5's convention ids 0, 1, 2 are padding, end and unknown."""
    pieces = read_proto(directory / "spiece.model").pieces
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[:3] == ("<pad>", "</s>", "<unk>")
    assert vocabulary.types[:3] == (TokenType.CONTROL, TokenType.CONTROL, TokenType.UNKNOWN)
    assert list(vocabulary.tokens[:200]) == [piece.piece for piece in pieces]
    assert list(vocabulary.scores[:200]) == [piece.score for piece in pieces]
    assert set(vocabulary.types[3:200]) == {TokenType.NORMAL}
    assert (vocabulary.eos_token_id, vocabulary.unk_token_id) == (1, 2)


def test_the_normalizer_is_kept(directory: Path) -> None:
    spec = read_proto(directory / "spiece.model").normalizer_spec
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert len(vocabulary.precompiled_charsmap) > 100_000
    assert vocabulary.precompiled_charsmap == spec.precompiled_charsmap
    assert vocabulary.add_space_prefix
    assert vocabulary.remove_extra_whitespaces


def test_every_row_has_a_token(directory: Path) -> None:
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert len(vocabulary.tokens) == len(vocabulary.scores) == len(vocabulary.types) == ROWS
    assert len(set(vocabulary.tokens)) == ROWS


def test_sentinels_are_named_without_a_file_that_names_them(directory: Path) -> None:
    """T5's own checkpoints have 28 rows too many and 100 sentinels, counted down to 0."""
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[200] == "<extra_id_99>"
    assert vocabulary.tokens[299] == "<extra_id_0>"
    assert set(vocabulary.types[200:300]) == {TokenType.USER_DEFINED}
    assert set(vocabulary.scores[200:300]) == {ADDED_SCORE}


def test_rows_beyond_the_tokens_are_unused(directory: Path) -> None:
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[300] == "[PAD300]"
    assert set(vocabulary.types[300:]) == {TokenType.UNUSED}
    assert set(vocabulary.scores[300:]) == {UNUSED_SCORE}


def test_a_model_without_room_has_no_sentinels(directory: Path) -> None:
    """A model of our own with 200 pieces and 256 rows was never trained on sentinels."""
    config = dataclasses.replace(CONFIG, vocab_size=256)
    vocabulary = Vocabulary.load(directory, config, ROWS)
    assert not any(token.startswith("<extra_id_") for token in vocabulary.tokens)
    assert set(vocabulary.types[200:]) == {TokenType.UNUSED}


def test_the_number_of_sentinels_may_be_said(directory: Path) -> None:
    write_json(directory / "tokenizer_config.json", {"extra_ids": 2})
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[200:203] == ("<extra_id_1>", "<extra_id_0>", "[PAD202]")


def test_added_tokens_take_their_names_from_added_tokens_json(directory: Path) -> None:
    """A name in the file wins over the sentinel that T5 would have there."""
    write_json(directory / "added_tokens.json", {"<sep>": 200, "<query>": 305})
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert [vocabulary.tokens[index] for index in (200, 201, 305)] == [
        "<sep>",
        "<extra_id_98>",
        "<query>",
    ]
    assert vocabulary.types[305] is TokenType.USER_DEFINED
    assert vocabulary.scores[305] == ADDED_SCORE


def test_added_tokens_take_their_names_from_tokenizer_config_json(directory: Path) -> None:
    """Its table lists the pieces' own special tokens as well; those stay as they are."""
    table = {
        "0": {"content": "<pad>", "special": True},
        "2": {"content": "<unk>", "special": True},
        "310": {"content": "<query>", "special": True},
    }
    write_json(directory / "tokenizer_config.json", {"added_tokens_decoder": table})
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[310] == "<query>"
    assert vocabulary.types[310] is TokenType.USER_DEFINED
    assert vocabulary.types[:3] == (TokenType.CONTROL, TokenType.CONTROL, TokenType.UNKNOWN)


def test_encoding_ends_with_the_end_mark_and_adds_no_start(directory: Path) -> None:
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    ids = vocabulary.encode("how to cook rice")
    assert ids[-1] == 1
    assert 1 not in ids[:-1]
    text = "".join(vocabulary.tokens[index] for index in ids[:-1])
    assert text == "\u2581how\u2581to\u2581cook\u2581rice"
    assert vocabulary.encode("") == [1]


def test_unknown_characters_become_the_unknown_token(directory: Path) -> None:
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.unk_token_id in vocabulary.encode("\u0f00")


def test_suppressed_are_all_but_text_and_the_end_mark(directory: Path) -> None:
    """A query must not contain padding, `<unk>` or a sentinel, and it must be able to end."""
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.suppressed(320) == [0, 2, *range(200, 320)]
    assert vocabulary.suppressed(3) == [0, 2]


def test_the_source_is_hashed(directory: Path) -> None:
    content = (directory / "spiece.model").read_bytes()
    assert Vocabulary.load(directory, CONFIG, ROWS).sha256() == {
        "spiece.model": hashlib.sha256(content).hexdigest()
    }


def test_tokenizer_model_is_another_name_of_spiece_model(directory: Path) -> None:
    (directory / "spiece.model").rename(directory / "tokenizer.model")
    assert Vocabulary.load(directory, CONFIG, ROWS).source == directory / "tokenizer.model"


def test_tokenizer_json_gives_the_same_vocabulary(spiece: Path, directory: Path) -> None:
    """Recent checkpoints are published without spiece.model."""
    wanted = Vocabulary.load(directory, CONFIG, ROWS)
    (directory / "spiece.model").unlink()
    write_json(directory / "tokenizer.json", tokenizer_json(spiece))
    found = Vocabulary.load(directory, CONFIG, ROWS)
    assert found.source.name == "tokenizer.json"
    assert found.tokens == wanted.tokens
    assert found.scores == wanted.scores
    assert found.types == wanted.types
    assert found.precompiled_charsmap == wanted.precompiled_charsmap
    assert found.unk_token_id == wanted.unk_token_id
    assert [found.encode(text) for text in TEXTS] == [wanted.encode(text) for text in TEXTS]


def test_sentinels_among_the_pieces_of_tokenizer_json_are_no_text(
    spiece: Path, tmp_path: Path
) -> None:
    """Hugging Face writes the 100 sentinels into the Unigram table itself, with score 0."""
    document = tokenizer_json(spiece)
    document["model"]["vocab"] += [[f"<extra_id_{99 - index}>", 0.0] for index in range(100)]
    write_json(tmp_path / "tokenizer.json", document)
    vocabulary = Vocabulary.load(tmp_path, CONFIG, ROWS)
    assert vocabulary.tokens[200] == "<extra_id_99>"
    assert vocabulary.tokens[300] == "[PAD300]"
    assert set(vocabulary.types[200:300]) == {TokenType.USER_DEFINED}
    assert vocabulary.suppressed(320) == [0, 2, *range(200, 320)]


def test_spiece_model_is_preferred_to_tokenizer_json(directory: Path) -> None:
    """It is the original; the other was made from it."""
    (directory / "tokenizer.json").write_text("no JSON at all", encoding="utf-8")
    assert Vocabulary.load(directory, CONFIG, ROWS).source.name == "spiece.model"


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
    (directory / "spiece.model").write_bytes(b"<html>not found</html>")
    with pytest.raises(ConversionError, match="is not a SentencePiece model"):
        Vocabulary.load(directory, CONFIG, ROWS)


def test_an_empty_file_is_refused(directory: Path) -> None:
    """Nothing at all is a well-formed protobuf message."""
    (directory / "spiece.model").write_bytes(b"")
    with pytest.raises(ConversionError, match="no piece is the unknown token"):
        Vocabulary.load(directory, CONFIG, ROWS)


def test_more_pieces_than_rows_are_refused(directory: Path) -> None:
    """The tokenizer of another model would index past the embedding."""
    config = dataclasses.replace(CONFIG, vocab_size=128)
    with pytest.raises(ConversionError, match="200 pieces, but the embedding has 128 rows"):
        Vocabulary.load(directory, config, 128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"type": "BPE", "vocab": {}}}, "has a BPE model, T5 has Unigram"),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "is not a Unigram tokenizer"),
        (
            {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}},
            "is not a Unigram tokenizer",
        ),
    ],
    ids=["bpe", "no unk_id", "no base64"],
)
def test_a_tokenizer_json_of_another_kind_is_refused(
    spiece: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    write_json(tmp_path / "tokenizer.json", tokenizer_json(spiece) | change)
    with pytest.raises(ConversionError, match=message):
        Vocabulary.load(tmp_path, CONFIG, ROWS)


def test_a_tokenizer_json_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConversionError, match="is not a Unigram tokenizer"):
        Vocabulary.load(tmp_path, CONFIG, ROWS)


def test_a_broken_file_of_added_tokens_is_refused_with_its_path(directory: Path) -> None:
    (directory / "added_tokens.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConversionError, match=r"added_tokens\.json: "):
        Vocabulary.load(directory, CONFIG, ROWS)
