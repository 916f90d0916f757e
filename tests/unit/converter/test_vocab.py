import dataclasses
import hashlib
from pathlib import Path

import pytest
from gguf import TokenType
from sentencepiece import sentencepiece_model_pb2

from support.samples import read_proto, tokenizer_json, write_json
from support.vocabularies import CONFIG, ROWS
from t5gguf.errors import ConversionError
from t5gguf.tokenizer_json import ADDED_SCORE
from t5gguf.vocab import UNUSED_SCORE, Vocabulary

PIECE = sentencepiece_model_pb2.ModelProto.SentencePiece


def test_pieces_keep_their_texts_scores_and_types(directory: Path) -> None:
    """By T5's convention ids 0, 1, 2 are padding, end and unknown."""
    pieces = read_proto(directory / "spiece.model").pieces
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[:3] == ("<pad>", "</s>", "<unk>")
    assert vocabulary.token_types[:3] == (TokenType.CONTROL, TokenType.CONTROL, TokenType.UNKNOWN)
    assert list(vocabulary.tokens[:200]) == [piece.piece for piece in pieces]
    assert list(vocabulary.scores[:200]) == [piece.score for piece in pieces]
    assert set(vocabulary.token_types[3:200]) == {TokenType.NORMAL}
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
    assert len(vocabulary.tokens) == len(vocabulary.scores) == len(vocabulary.token_types) == ROWS
    assert len(set(vocabulary.tokens)) == ROWS


def test_sentinels_are_named_without_a_file_that_names_them(directory: Path) -> None:
    """T5's own checkpoints have 28 rows too many and 100 sentinels, counted down to 0."""
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[200] == "<extra_id_99>"
    assert vocabulary.tokens[299] == "<extra_id_0>"
    assert set(vocabulary.token_types[200:300]) == {TokenType.USER_DEFINED}
    assert set(vocabulary.scores[200:300]) == {ADDED_SCORE}


def test_rows_beyond_the_tokens_are_unused(directory: Path) -> None:
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[300] == "[PAD300]"
    assert set(vocabulary.token_types[300:]) == {TokenType.UNUSED}
    assert set(vocabulary.scores[300:]) == {UNUSED_SCORE}


def test_a_model_without_room_has_no_sentinels(directory: Path) -> None:
    """A model with 200 pieces and 256 rows was never trained on sentinels."""
    config = dataclasses.replace(CONFIG, vocab_size=256)
    vocabulary = Vocabulary.load(directory, config, ROWS)
    assert not any(token.startswith("<extra_id_") for token in vocabulary.tokens)
    assert set(vocabulary.token_types[200:]) == {TokenType.UNUSED}


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


@pytest.mark.parametrize("sentinels", ["implied", "tokenizer.json"])
def test_sentinels_in_a_text_are_their_ids(directory: Path, spiece: Path, sentinels: str) -> None:
    """Regression: they were split into ordinary pieces. Text around them is encoded separately."""
    if sentinels == "tokenizer.json":
        (directory / "spiece.model").unlink()
        write_json(directory / "tokenizer.json", tokenizer_json(spiece, sentinels=100))
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    how, cook = vocabulary.encode("how")[:-1], vocabulary.encode("to cook")[:-1]
    assert vocabulary.encode("<extra_id_0>") == [299, 1]
    assert vocabulary.encode("how <extra_id_0> to cook<extra_id_99>") == [*how, 299, *cook, 200, 1]
    assert vocabulary.encode("<extra_id_1><extra_id_1>") == [298, 298, 1]
    assert not {*range(200, 300)} & {*vocabulary.encode("<extra_id_100> <extra_id_0")}


def test_suppressed_are_all_but_text_and_the_end_mark(directory: Path) -> None:
    """A query must not contain padding, `<unk>` or a sentinel, and it must be able to end."""
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.select_suppressed_ids(320) == [0, 2, *range(200, 320)]
    assert vocabulary.select_suppressed_ids(3) == [0, 2]


def test_sentinels_among_ordinary_pieces_are_suppressed(directory: Path) -> None:
    """mT5's spiece.model has them as text, with the mark of a word start."""
    path = directory / "spiece.model"
    proto = read_proto(path)
    proto.pieces.add(piece="\u2581<extra_id_0>", score=-15.0)
    path.write_bytes(proto.SerializeToString())
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.token_types[200] is TokenType.NORMAL
    assert 200 in vocabulary.select_suppressed_ids(320)


def test_the_source_is_hashed(directory: Path) -> None:
    content = (directory / "spiece.model").read_bytes()
    assert Vocabulary.load(directory, CONFIG, ROWS).hash_source() == {
        "spiece.model": hashlib.sha256(content).hexdigest()
    }


def test_an_empty_file_is_refused(directory: Path) -> None:
    """Zero bytes are a well-formed protobuf message."""
    (directory / "spiece.model").write_bytes(b"")
    with pytest.raises(ConversionError, match="no piece is the unknown token"):
        Vocabulary.load(directory, CONFIG, ROWS)


def test_more_pieces_than_the_model_has_are_refused(directory: Path) -> None:
    """The tokenizer of another model would index past the embedding, padded rows or not."""
    config = dataclasses.replace(CONFIG, vocab_size=199)
    with pytest.raises(ConversionError, match=r"spiece\.model has 200 pieces, but .* is 199"):
        Vocabulary.load(directory, config, 256)
    Vocabulary.load(directory, dataclasses.replace(CONFIG, vocab_size=200), 256)


@pytest.mark.parametrize("source", ["added", "piece", "tokenizer.json"])
def test_one_text_for_two_ids_is_refused(directory: Path, spiece: Path, source: str) -> None:
    """llama.cpp would abort while loading; the error names the text."""
    path = directory / "spiece.model"
    text = read_proto(path).pieces[7].piece
    if source == "added":
        write_json(directory / "added_tokens.json", {text: 305})
    elif source == "piece":
        proto = read_proto(path)
        proto.pieces.add(piece=text, score=-3.0)
        path.write_bytes(proto.SerializeToString())
    else:
        path.unlink()
        document = tokenizer_json(spiece)
        document["model"]["vocab"].append([text, -3.0])
        write_json(directory / "tokenizer.json", document)
    with pytest.raises(ConversionError) as error:
        Vocabulary.load(directory, CONFIG, ROWS)
    assert str(error.value).endswith(f": several ids have the same text: {text!r}")


def test_a_model_that_sentencepiece_refuses_is_refused(directory: Path) -> None:
    path = directory / "spiece.model"
    proto = read_proto(path)
    proto.pieces.add(piece="", score=-3.0)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ConversionError, match=r"spiece\.model: SentencePiece refuses the model: "):
        Vocabulary.load(directory, CONFIG, ROWS)


def test_an_unknown_token_beyond_the_pieces_is_refused(spiece: Path, tmp_path: Path) -> None:
    document = tokenizer_json(spiece)
    document["model"]["unk_id"] = 200
    write_json(tmp_path / "tokenizer.json", document)
    with pytest.raises(ConversionError, match="no piece is the unknown token"):
        Vocabulary.load(tmp_path, CONFIG, ROWS)
