import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from gguf import TokenType
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from support import tiny
from support.samples import T5_BASE, english_vocabulary, write_json
from t5engine.reader import GGUFFile
from t5gguf.checkpoint import Checkpoint
from t5gguf.config import Config
from t5gguf.convert import Converter
from t5gguf.errors import ConversionError, VerificationError
from t5gguf.reference import Reference
from t5gguf.tasks import Task
from t5gguf.trimming import TrimmingLoss, measure_loss, select_kept_ids, trim
from t5gguf.vocab import Trimming, Vocabulary
from t5gguf.weights import LazyTensor
from t5gguf.writer import Provenance, padded_rows

PIECE = sentencepiece_model_pb2.ModelProto.SentencePiece
UNIGRAM = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
TEXTS = tiny.QUERIES.read_text(encoding="utf-8").splitlines()
WORDS = sorted({word for text in TEXTS for word in text.split()})
QUERIES = ["how to cook rice", "best hiking boots for wide feet 2024"]
PREFIX = "rewrite: "
PROVENANCE = Provenance("tiny", tasks={"reformulate": Task.of_prefix(PREFIX)})


def load(directory: Path, config: Config = T5_BASE) -> Vocabulary:
    return Vocabulary.load(directory, config, padded_rows(config.vocab_size))


def trim_vocabulary(vocabulary: Vocabulary, texts: list[str]) -> Vocabulary:
    ids = tuple(select_kept_ids(vocabulary, texts, {0, 1}))
    return vocabulary.trim(Trimming(ids, len(vocabulary.tokens), ""), padded_rows(len(ids)))


def pieces(vocabulary: Vocabulary, text: str) -> list[str]:
    return [vocabulary.tokens[index] for index in vocabulary.encode(text)]


def spiece(directory: Path, table: dict[str, float], **piece_types: int) -> Path:
    """Writes a vocabulary of pieces with their scores, and types by text; others are normal."""
    proto = sentencepiece_model_pb2.ModelProto()
    for text, score in table.items():
        usual = PIECE.BYTE if text.startswith("<0x") else PIECE.NORMAL
        proto.pieces.add(piece=text, score=score, type=piece_types.get(text.strip("</>"), usual))
    proto.trainer_spec.byte_fallback = "<0x00>" in table
    proto.trainer_spec.model_type = UNIGRAM
    (directory / "spiece.model").write_bytes(proto.SerializeToString())
    return directory


@pytest.fixture(scope="module")
def included(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """A vocabulary that was trained on real questions."""
    directory = tmp_path_factory.mktemp("included")
    english_vocabulary(directory / "spiece.model")
    return load(directory, dataclasses.replace(T5_BASE, vocab_size=8000))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tiny.build("tied_relu", tmp_path_factory.mktemp("trimming") / "source")
    (directory / "domain.txt").write_text("\n".join(QUERIES), encoding="utf-8")
    return directory


# Words of the domain, other ones, and anything at all: most texts have pieces of each kind.
mixtures = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=8).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(domain=st.lists(mixtures, max_size=12), probes=st.lists(mixtures, max_size=12))
def test_a_text_whose_pieces_all_stayed_is_split_as_before(
    included: Vocabulary, domain: list[str], probes: list[str]
) -> None:
    """Other texts are split into smaller pieces of the same characters, without new unknowns."""
    smaller = trim_vocabulary(included, domain)
    assert [pieces(smaller, text) for text in domain] == [pieces(included, text) for text in domain]
    stayed = set(smaller.tokens)
    for text in [*probes, *(word for probe in probes for word in probe.split())]:
        before, after = pieces(included, text), pieces(smaller, text)
        if stayed.issuperset(before):
            assert after == before
        elif "<unk>" not in before:
            assert "".join(after) == "".join(before)
            assert "<unk>" not in after


def test_the_score_of_an_unknown_character_is_kept(tmp_path: Path) -> None:
    """It scores 10 less than the lowest piece. Without that piece another segmentation wins."""
    singles = dict.fromkeys("▁xfbd", 0.0)
    table = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, **singles}
    table |= {"xa": -20.0, "bcd": -20.0, "ef": -20.0, "ab": 0.0, "de": 0.0, "rare": -100.0}
    piece_types = {"pad": PIECE.CONTROL, "s": PIECE.CONTROL, "unk": PIECE.UNKNOWN}
    config = dataclasses.replace(T5_BASE, vocab_size=len(table))
    vocabulary = load(spiece(tmp_path, table, **piece_types), config)
    assert pieces(vocabulary, "xabcdef") == ["▁", "xa", "bcd", "ef", "</s>"]
    smaller = trim_vocabulary(vocabulary, ["xabcdef", "ab", "de"])
    assert "rare" in smaller.tokens
    assert pieces(smaller, "xabcdef") == ["▁", "xa", "bcd", "ef", "</s>"]
    assert smaller.trimming is not None
    kept_ids = smaller.trimming.kept_ids
    without_rare = tuple(index for index in kept_ids if vocabulary.tokens[index] != "rare")
    smallest = vocabulary.trim(Trimming(without_rare, len(table), ""), 64)
    assert pieces(smallest, "xabcdef") == ["▁", "x", "ab", "<unk>", "de", "f", "</s>"]


def test_tokens_that_stay_without_a_text(tmp_path: Path) -> None:
    """Control, unknown, bytes, added tokens, characters and extremes stay; sentinels do not."""
    piece_types = {"pad": PIECE.CONTROL, "s": PIECE.CONTROL, "unk": PIECE.UNKNOWN}
    piece_types["gone"] = PIECE.UNUSED
    table = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "gone": 0.0}
    octets = [f"<0x{octet:02X}>" for octet in range(256)]
    table |= dict.fromkeys(octets, 0.0)
    table |= {"▁": -3.0, "a": -4.0, "▁b": -5.0, "本": -6.0}
    table |= {"ab": -4.0, "▁ab": -5.0, "low": -9.0, "lower": -10.0, "high": -1.0, "start": -4.0}
    table |= {"▁<extra_id_0>": -4.0}
    write_json(spiece(tmp_path, table, **piece_types) / "added_tokens.json", {"<sep>": len(table)})
    vocabulary = load(tmp_path, dataclasses.replace(T5_BASE, vocab_size=len(table) + 5))
    ids = select_kept_ids(vocabulary, [], {0, 1, list(table).index("start")})
    stayed = ["<pad>", "</s>", "<unk>", *octets, "▁", "a", "▁b", "本", "lower", "high", "start"]
    assert [vocabulary.tokens[index] for index in ids] == [*stayed, "<sep>"]
    assert ids == sorted(ids)


def test_sentinels_stay_if_a_text_has_them(source: Path) -> None:
    """Reformulation does not use T5's 100 sentinels, but other tasks do."""
    vocabulary = load(source, dataclasses.replace(T5_BASE, vocab_size=320))
    text = "how <extra_id_0> to cook"
    smaller = trim_vocabulary(vocabulary, [text])
    sentinels = [token for token in smaller.tokens if token.startswith("<extra_id_")]
    assert sentinels == ["<extra_id_0>"]
    assert pieces(smaller, text) == pieces(vocabulary, text)
    assert not any(
        token.startswith("<extra_id_") for token in trim_vocabulary(vocabulary, []).tokens
    )


def test_tokens_keep_their_scores_and_types(included: Vocabulary) -> None:
    """Rows up to a multiple of 64 are unused, and named by their new ids."""
    smaller = trim_vocabulary(included, QUERIES)
    trimming = smaller.trimming
    assert trimming is not None
    count, rows = len(trimming.kept_ids), len(smaller.tokens)
    for part in ("tokens", "scores", "token_types"):
        before, after = getattr(included, part), getattr(smaller, part)
        assert after[:count] == tuple(before[index] for index in trimming.kept_ids), part
        assert len(after) == rows
    assert rows % 64 == 0
    assert rows - 64 < count < rows
    assert smaller.tokens[count] == f"[PAD{count}]"
    assert set(smaller.token_types[count:]) == {TokenType.UNUSED}
    assert smaller.hash_source() == included.hash_source()


def test_special_ids_move_with_their_tokens(tmp_path: Path) -> None:
    """This vocabulary has other pieces before them."""
    table = {"gone": -2.0, "<unk>": 0.0, "▁": -1.0, "too": -2.0, "</s>": 0.0, "<pad>": 0.0}
    table |= {"first": -2.0, "low": -9.0}
    piece_types = {"pad": PIECE.CONTROL, "s": PIECE.CONTROL, "unk": PIECE.UNKNOWN}
    spiece(tmp_path, table, **piece_types)
    config = dataclasses.replace(
        T5_BASE, vocab_size=8, pad_token_id=5, eos_token_id=4, decoder_start_token_id=6
    )
    weights = np.arange(16, dtype=np.float32).reshape(8, 2)
    tensors = {
        name: LazyTensor(name, weights.shape, lambda: weights)
        for name in ("shared.weight", "decoder.embed_tokens.weight", "lm_head.weight", "other")
    }
    (tmp_path / "domain.txt").write_text("xyz", encoding="utf-8")
    checkpoint = Checkpoint(tmp_path, config, tensors, ())
    smaller, vocabulary = trim(checkpoint, load(tmp_path, config), tmp_path / "domain.txt", [])
    assert vocabulary.tokens[:6] == ("<unk>", "▁", "</s>", "<pad>", "first", "low")
    assert (vocabulary.unk_token_id, vocabulary.eos_token_id) == (0, 2)
    moved = (smaller.config.pad_token_id, smaller.config.eos_token_id)
    assert moved == (3, 2)
    assert (smaller.config.decoder_start_token_id, smaller.config.vocab_size) == (4, 6)
    assert vocabulary.encode("xyz") == [1, 0, 2]
    for name, tensor in smaller.tensors.items():
        expected = weights if name == "other" else weights[[1, 2, 4, 5, 6, 7]]
        assert tensor.shape == expected.shape
        np.testing.assert_array_equal(tensor.load(), expected)


def test_prefixes_and_lines_by_themselves_count(source: Path) -> None:
    """A line may be an answer, which has no prefix; and a prefix may end within a word."""
    config = dataclasses.replace(T5_BASE, vocab_size=320)
    vocabulary = load(source, config)
    checkpoint = Checkpoint.open(source)
    prefixes = ["reword:", "in other words "]
    tasks = [Task.of_prefix(prefix) for prefix in prefixes]
    _, smaller = trim(checkpoint, vocabulary, source / "domain.txt", tasks)
    for prefix in ["", *prefixes]:
        for query in QUERIES:
            assert pieces(smaller, prefix + query) == pieces(vocabulary, prefix + query)


@pytest.mark.parametrize("flavour", ["tied_relu", "gated_untied", "google_extra"])
def test_the_engine_takes_a_trimmed_file(source: Path, tmp_path: Path, flavour: str) -> None:
    """The file has the rows of the whole checkpoint; `measure_loss` compares their logits."""
    directory = tiny.build(flavour, tmp_path / "source")
    domain = source / "domain.txt"
    converter = Converter(directory, PROVENANCE, QUERIES, domain=domain)
    assert converter.trimming_loss is not None
    assert (converter.trimming_loss.queries, converter.trimming_loss.same_pieces) == (2, 2)
    out = tmp_path / "out.gguf"
    converter.convert(out, "F32", progress=False)
    file = GGUFFile.open(out)
    trimming = converter.vocabulary.trimming
    assert trimming is not None
    count, rows = len(trimming.kept_ids), padded_rows(len(trimming.kept_ids))
    assert rows < 320
    assert file.metadata["t5serve.vocab_size"] == count
    assert file.metadata["t5serve.trimming.rows"] == 320
    digest = hashlib.sha256(domain.read_bytes()).hexdigest()
    assert file.metadata["t5serve.trimming.sha256"] == digest
    whole = tiny.tensors(flavour)
    names = {"token_embd.weight": "shared.weight", "output.weight": "lm_head.weight"}
    for name in names.keys() & file.tensors.keys():
        values = file.tensors[name].read_rows()
        assert values.shape == (rows, 64)
        np.testing.assert_array_equal(values[:count], whole[names[name]][list(trimming.kept_ids)])
        np.testing.assert_array_equal(values[count:], np.repeat(values[[2]], rows - count, axis=0))


def test_a_trimmed_file_of_few_bits_is_calibrated_and_verified(
    source: Path, tmp_path: Path
) -> None:
    """Trimming does not affect error feedback or ggml's repacked kernels."""
    domain = source / "domain.txt"
    converter = Converter(source, PROVENANCE, QUERIES, TEXTS[:20], domain)
    converter.convert(tmp_path / "out.gguf", "Q4_0", progress=False)
    assert GGUFFile.open(tmp_path / "out.gguf").metadata["t5serve.calibration.queries"] == 20


def test_an_untrimmed_file_has_no_trimming_metadata(source: Path, tmp_path: Path) -> None:
    converter = Converter(source, PROVENANCE, QUERIES)
    converter.convert(tmp_path / "out.gguf", "F32", progress=False)
    metadata = GGUFFile.open(tmp_path / "out.gguf").metadata
    assert not [key for key in metadata if "trimming" in key]
    assert converter.trimming_loss is None


def test_loss_counts_queries_that_changed(source: Path) -> None:
    """A query of the domain, one that is split differently, then the whole vocabulary."""
    unrelated = "another question entirely"
    domain = source / "domain.txt"
    converter = Converter(source, Provenance("x"), [QUERIES[0], unrelated], domain=domain)
    assert converter.trimming_loss is not None
    assert (converter.trimming_loss.queries, converter.trimming_loss.same_pieces) == (2, 1)
    assert converter.trimming_loss.same_answers <= converter.trimming_loss.same_pieces
    checkpoint = Checkpoint.open(source)
    vocabulary = load(source, checkpoint.config)
    everything = Trimming(tuple(range(320)), 320, "")
    samples = Converter(source, Provenance("x"), [QUERIES[0], unrelated])._samples
    assert measure_loss(Reference(checkpoint), vocabulary, everything, samples) == TrimmingLoss(
        2, 2, 2
    )


def test_an_answer_with_a_dropped_piece_is_another_answer(source: Path) -> None:
    """The input is split as before, but the best token was left out."""
    checkpoint = Checkpoint.open(source)
    vocabulary = load(source, checkpoint.config)
    suppressed = vocabulary.select_suppressed_ids(320)
    reference = Reference(checkpoint)

    def loses_answer(text: str) -> bool:
        encoded = vocabulary.encode(text)
        (answer,) = reference.decode_greedily(encoded, 1, suppressed)
        return answer not in select_kept_ids(vocabulary, [text], encoded)

    query = next(filter(loses_answer, TEXTS))
    domain = source / "one.txt"
    domain.write_text(query, encoding="utf-8")
    loss = Converter(source, Provenance("x"), [query], domain=domain).trimming_loss
    assert loss == TrimmingLoss(1, 1, 0)


def test_logits_that_are_not_the_whole_models_are_a_fault(source: Path) -> None:
    """If rows were swapped, verification of the file alone would not notice."""
    converter = Converter(source, PROVENANCE, QUERIES, domain=source / "domain.txt")
    trimming = converter.vocabulary.trimming
    assert trimming is not None
    ids = [*trimming.kept_ids]
    ids[-1], ids[-2] = ids[-2], ids[-1]
    wrong = dataclasses.replace(trimming, kept_ids=tuple(ids))
    checkpoint = Checkpoint.open(source)
    vocabulary = load(source, checkpoint.config)
    with pytest.raises(VerificationError, match="trimming changed the logits of 'rewrite: how"):
        measure_loss(Reference(checkpoint), vocabulary, wrong, converter._samples)


@pytest.mark.parametrize("content", ["", " \n\t\n"])
def test_a_text_without_a_line_is_refused(source: Path, tmp_path: Path, content: str) -> None:
    """Such a model could only spell."""
    path = tmp_path / "empty.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConversionError, match=r"empty\.txt has no text"):
        Converter(source, PROVENANCE, QUERIES, domain=path)


def test_faults_of_the_checkpoint_are_reported_before_trimming(tmp_path: Path) -> None:
    """Rows beyond config.json's vocab_size would go unnoticed after rows are selected."""
    directory = tiny.build("tied_relu", tmp_path / "source")
    write_json(directory / "config.json", tiny.FLAVOURS["tied_relu"] | {"vocab_size": 310})
    (tmp_path / "domain.txt").write_text("how", encoding="utf-8")
    with pytest.raises(ConversionError, match=r"wrong shape: shared\.weight is \(320, 64\)"):
        Converter(directory, PROVENANCE, QUERIES, domain=tmp_path / "domain.txt")
