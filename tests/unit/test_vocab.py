import dataclasses
import hashlib
import re
from pathlib import Path

import pytest
from gguf import TokenType
from sentencepiece import sentencepiece_model_pb2

from support import tiny
from support.samples import T5_BASE, read_proto, tokenizer_json, write_json
from t5gguf.errors import ConversionError
from t5gguf.tokenizer_files import ADDED_SCORE
from t5gguf.vocab import UNUSED_SCORE, Vocabulary

PIECE = sentencepiece_model_pb2.ModelProto.SentencePiece
ROWS = 384
# The tiny vocabulary has 200 pieces; the embedding 320 rows, the file 384.
CONFIG = dataclasses.replace(T5_BASE, vocab_size=320)

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
    """A model of our own with 200 pieces and 256 rows was never trained on sentinels."""
    config = dataclasses.replace(CONFIG, vocab_size=256)
    vocabulary = Vocabulary.load(directory, config, ROWS)
    assert not any(token.startswith("<extra_id_") for token in vocabulary.tokens)
    assert set(vocabulary.token_types[200:]) == {TokenType.UNUSED}


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
    assert vocabulary.token_types[305] is TokenType.USER_DEFINED
    assert vocabulary.scores[305] == ADDED_SCORE


def test_added_tokens_beyond_the_vocabulary_are_ignored(directory: Path) -> None:
    """The model has no embedding there; the file's rows up to a multiple of 64 are padding."""
    write_json(directory / "added_tokens.json", {"<last>": 319, "<beyond>": 320})
    vocabulary = Vocabulary.load(directory, CONFIG, ROWS)
    assert vocabulary.tokens[319:321] == ("<last>", "[PAD320]")
    assert vocabulary.token_types[320] is TokenType.UNUSED


@pytest.mark.parametrize("source", ["pieces", "added_tokens.json", "tokenizer_config.json"])
def test_sentinels_that_are_named_are_not_added_again(directory: Path, source: str) -> None:
    """Two ids for `<extra_id_0>` make llama.cpp abort; so 100 more must not follow the named."""
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
    """Its table lists the pieces' own special tokens as well; those stay as they are."""
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
    """They were pieces of ordinary text once; what is around them is encoded as by itself."""
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
    """mT5's spiece.model has them as text, with the mark of a word's start."""
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
    (directory / "spiece.model").write_bytes(b"<html>not loaded</html>")
    with pytest.raises(ConversionError, match="is not a SentencePiece model"):
        Vocabulary.load(directory, CONFIG, ROWS)


def test_an_empty_file_is_refused(directory: Path) -> None:
    """Nothing at all is a well-formed protobuf message."""
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
    """llama.cpp would abort on loading; here the text is named."""
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


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"type": "BPE", "vocab": {}}},
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
    """Another source of model, and each part missing or of another type."""
    write_json(tmp_path / "tokenizer.json", tokenizer_json(spiece) | change)
    with pytest.raises(ConversionError, match=r"tokenizer\.json is not a Unigram tokenizer: "):
        Vocabulary.load(tmp_path, CONFIG, ROWS)


def test_another_kind_of_tokenizer_is_named(spiece: Path, tmp_path: Path) -> None:
    document = tokenizer_json(spiece) | {"model": {"type": "WordPiece", "vocab": {}}}
    write_json(tmp_path / "tokenizer.json", document)
    with pytest.raises(ConversionError, match="its model is WordPiece"):
        Vocabulary.load(tmp_path, CONFIG, ROWS)


def test_an_unknown_token_beyond_the_pieces_is_refused(spiece: Path, tmp_path: Path) -> None:
    document = tokenizer_json(spiece)
    document["model"]["unk_id"] = 200
    write_json(tmp_path / "tokenizer.json", document)
    with pytest.raises(ConversionError, match="no piece is the unknown token"):
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


def test_nulls_about_added_tokens_say_nothing(directory: Path) -> None:
    nulls = {"added_tokens_decoder": None, "extra_ids": None}
    write_json(directory / "tokenizer_config.json", nulls)
    assert Vocabulary.load(directory, CONFIG, ROWS).tokens[299] == "<extra_id_0>"
