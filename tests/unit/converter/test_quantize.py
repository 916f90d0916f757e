import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, LlamaFileType, quants
from gguf import GGMLQuantizationType as Type

import t5gguf.quantize
from support import tiny
from support.samples import T5_BASE
from t5gguf.config import Config
from t5gguf.errors import ConversionError
from t5gguf.ggml_quantize import count_bytes, quantize_rows
from t5gguf.quantize import (
    F16_INPUT_LIMIT,
    GROUPS,
    POLICIES,
    Policy,
    Quantizer,
    expand_group_type,
    open_quantizer,
    select_tensor_type,
)
from t5gguf.tensor_map import Role, map_tensors

T5_V1_1_BASE = dataclasses.replace(T5_BASE, d_ff=2048, is_gated=True, tie_word_embeddings=False)
F32_ROLES = {Role.NORM, Role.OUTPUT_NORM, Role.BIAS}
QUANTISED = [
    Type.Q8_0,
    Type.Q6_K,
    Type.Q5_K,
    Type.Q4_K,
    Type.Q5_1,
    Type.Q5_0,
    Type.Q4_0,
    Type.F16,
    Type.BF16,
]


def select_types(
    policy: str,
    config: Config = T5_V1_1_BASE,
    *,
    max_ffn_down_input: float = 10.0,
    role_types: dict[Role, Type] | None = None,
) -> dict[str, Type]:
    """The type of every tensor of a model, by name."""
    return {
        entry.name: select_tensor_type(
            entry,
            POLICIES[policy],
            config,
            max_ffn_down_input=max_ffn_down_input,
            role_types=role_types,
        )
        for entry in map_tensors(config)
    }


def map_roles(config: Config = T5_V1_1_BASE) -> dict[str, Role]:
    return {entry.name: entry.role for entry in map_tensors(config)}


def noise(rows: int, columns: int) -> tiny.Float32:
    return np.random.RandomState(0).standard_normal((rows, columns)).astype(np.float32)


@pytest.fixture(scope="module")
def quantize() -> Iterator[Quantizer]:
    """A quantiser with real processes, which start when they are first needed."""
    with open_quantizer() as started:
        yield started


@pytest.mark.parametrize(
    ("policy", "base", "embedding"),
    [
        ("F32", Type.F32, Type.F32),
        ("F16", Type.F16, Type.F16),
        ("BF16", Type.BF16, Type.BF16),
        ("Q8_0", Type.Q8_0, Type.Q8_0),
        ("Q6_K", Type.Q6_K, Type.Q6_K),
        ("Q5_K_M", Type.Q5_K, Type.Q6_K),
        ("Q4_K_M", Type.Q4_K, Type.Q6_K),
        ("Q4_0", Type.Q4_0, Type.Q4_0),
    ],
)
def test_types_of_every_tensor(policy: str, base: Type, embedding: Type) -> None:
    """Norms and biases stay F32; embedding and head share a type, and so do all other matrices."""
    selected = select_types(policy)
    for name, role in map_roles().items():
        if role in F32_ROLES:
            assert selected[name] is Type.F32, name
        elif role in {Role.EMBEDDING, Role.HEAD}:
            assert selected[name] is embedding, name
        elif role is not Role.FFN_DOWN:
            assert selected[name] is base, name


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("columns", [768, 96, 40])
def test_q_k_v_share_one_type(policy: str, columns: int) -> None:
    """Otherwise they can't be read as one matrix. This holds for narrow rows, too."""
    config = dataclasses.replace(T5_V1_1_BASE, d_model=columns)
    selected = select_types(policy, config)
    for name, tensor_type in selected.items():
        if name.endswith("_q.weight"):
            stem = name.removesuffix("q.weight")
            assert selected[f"{stem}k.weight"] is selected[f"{stem}v.weight"] is tensor_type


@pytest.mark.parametrize(("policy", "base"), [("Q4_K_M", Type.Q4_K), ("Q5_K_M", Type.Q5_K)])
def test_mixtures_give_ffn_down_more_bits_in_llama_cpps_layers(policy: str, base: Type) -> None:
    """Of 12 layers the first eighth, the last eighth, and every third between: 6 of each stack.

    Guards against counting T5's 24 ffn_down as one stack of 12, as llama.cpp's quantiser does.
    """
    selected = select_types(policy)
    for side in ("enc", "dec"):
        layers = [selected[f"{side}.blk.{layer}.ffn_down.weight"] for layer in range(12)]
        more = [layer for layer, tensor_type in enumerate(layers) if tensor_type is Type.Q6_K]
        assert more == [0, 3, 6, 9, 10, 11]
        assert {tensor_type for layer, tensor_type in enumerate(layers) if layer not in more} == {
            base
        }


def test_stacks_of_unequal_depth_are_counted_each_by_itself() -> None:
    config = dataclasses.replace(T5_V1_1_BASE, num_layers=24, num_decoder_layers=6)
    selected = select_types("Q4_K_M", config)
    more = {
        side: [
            layer
            for layer in range(count)
            if selected[f"{side}.blk.{layer}.ffn_down.weight"] is Type.Q6_K
        ]
        for side, count in (("enc", 24), ("dec", 6))
    }
    assert more == {"enc": [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23], "dec": [2, 5]}


@pytest.mark.parametrize(
    ("policy", "by_32", "by_8"),
    [
        ("Q6_K", Type.Q8_0, Type.F16),
        ("Q5_K_M", Type.Q5_1, Type.F16),
        ("Q4_K_M", Type.Q5_0, Type.F16),
        ("Q8_0", Type.Q8_0, Type.F16),
        ("Q4_0", Type.Q4_0, Type.F16),
        ("F16", Type.F16, Type.F16),
        ("BF16", Type.BF16, Type.BF16),
    ],
)
def test_narrow_rows_fall_back(policy: str, by_32: Type, by_8: Type) -> None:
    """K types need rows of a multiple of 256 values, older types of 32; F16 takes any row."""
    for columns, tensor_type in ((384, by_32), (40, by_8)):
        selected = select_types(policy, dataclasses.replace(T5_V1_1_BASE, d_model=columns))
        assert selected["enc.blk.0.attn_q.weight"] is tensor_type


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("columns", [768, 384, 40])
def test_every_row_is_a_whole_number_of_blocks(policy: str, columns: int) -> None:
    """A type whose block does not divide the row would make ggml abort."""
    config = dataclasses.replace(T5_V1_1_BASE, d_model=columns, d_ff=columns, num_heads=3, d_kv=24)
    selected = select_types(policy, config)
    for entry in map_tensors(config):
        assert entry.shape[-1] % GGML_QUANT_SIZES[selected[entry.name]][0] == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_ffn_down_is_bf16_in_f16_files_whose_inputs_are_large(policy: str) -> None:
    """The inputs of F16 weights are rounded to F16, where more than 65,504 is infinite."""
    below = select_types(policy, max_ffn_down_input=F16_INPUT_LIMIT)
    above = select_types(policy, max_ffn_down_input=F16_INPUT_LIMIT + 1)
    changed = {name for name, tensor_type in above.items() if tensor_type is not below[name]}
    if policy != "F16":
        assert not changed
    else:
        assert changed == {name for name, role in map_roles().items() if role is Role.FFN_DOWN}
        assert {above[name] for name in changed} == {Type.BF16}


@pytest.mark.parametrize(
    "requested", [Type.Q6_K, Type.F32], ids=lambda tensor_type: tensor_type.name
)
def test_the_embeddings_type_can_be_chosen(requested: Type) -> None:
    """Regression: F32, ggml's type number 0, once counted as no choice."""
    selected = select_types("Q4_0", role_types=expand_group_type("embedding", requested.name))
    default = select_types("Q4_0")
    assert {name for name, tensor_type in selected.items() if tensor_type is not default[name]} == {
        "token_embd.weight",
        "output.weight",
    }
    assert selected["output.weight"] is requested


@pytest.mark.parametrize("policy", ["Q4_0", "Q4_K_M"])
@pytest.mark.parametrize("group", GROUPS)
def test_a_groups_type_is_that_of_all_its_tensors(group: str, policy: str) -> None:
    """This holds for mixtures, where some layers have more bits. Other tensors keep their types."""
    selected, default = (
        select_types(policy, role_types=expand_group_type(group, "Q8_0")),
        select_types(policy),
    )
    for name, role in map_roles().items():
        assert selected[name] is (Type.Q8_0 if role in GROUPS[group] else default[name]), name


def test_a_chosen_f16_keeps_to_its_range() -> None:
    """ffn_down's large inputs overflow F16 in a file of any type."""
    selected = select_types(
        "Q4_0", max_ffn_down_input=F16_INPUT_LIMIT + 1, role_types=expand_group_type("ffn", "F16")
    )
    assert selected["enc.blk.0.ffn_down.weight"] is Type.BF16
    assert selected["enc.blk.0.ffn_up.weight"] is Type.F16


def test_a_chosen_embedding_type_falls_back_too() -> None:
    config = dataclasses.replace(T5_V1_1_BASE, d_model=96)
    assert (
        select_types("Q4_0", config, role_types={Role.HEAD: Type.Q6_K})["output.weight"]
        is Type.Q8_0
    )


@pytest.mark.parametrize("name", POLICIES)
def test_a_file_type_is_the_one_of_its_name(name: str) -> None:
    """llama.cpp reads the file's type from this number."""
    prefix = "ALL" if name == "F32" else "MOSTLY"
    assert POLICIES[name].file_type is LlamaFileType[f"{prefix}_{name}"]


def test_only_the_mixtures_give_some_layers_more_bits() -> None:
    def mixed(policy: Policy) -> bool:
        return policy.ffn_down_type is not None

    assert [name for name, policy in POLICIES.items() if mixed(policy)] == ["Q5_K_M", "Q4_K_M"]


@pytest.mark.parametrize(
    ("tensor_type", "size"),
    [
        (Type.F32, 3072),
        (Type.F16, 1536),
        (Type.BF16, 1536),
        (Type.Q8_0, 24 * 34),
        (Type.Q4_0, 24 * 18),
        (Type.Q5_0, 24 * 22),
        (Type.Q5_1, 24 * 24),
        (Type.Q6_K, 3 * 210),
        (Type.Q5_K, 3 * 176),
        (Type.Q4_K, 3 * 144),
    ],
)
def test_sizes_count_whole_blocks(tensor_type: Type, size: int) -> None:
    """A row of 768 values is 24 blocks of 32, or 3 of 256."""
    assert count_bytes((768,), tensor_type) == size
    assert count_bytes((5, 768), tensor_type) == 5 * size


@pytest.mark.parametrize(
    "tensor_type",
    [Type.Q8_0, Type.Q4_0, Type.Q5_0, Type.Q5_1, Type.F16, Type.BF16],
    ids=lambda tensor_type: tensor_type.name,
)
def test_bytes_are_those_of_gguf_py(tensor_type: Type) -> None:
    """Its encoders in NumPy are a second implementation of the same formats."""
    values = noise(16, 256)
    values[3] = 0  # a block of zeros has no scale
    expected = quants.quantize(values, tensor_type)
    np.testing.assert_array_equal(
        quantize_rows(values, tensor_type), expected.view(np.uint8).reshape(-1)
    )


def step(values: tiny.Float32, tensor_type: Type) -> float:
    """The largest distance between neighbouring values of a type."""
    largest, extent = float(np.abs(values).max()), float(np.ptp(values))
    return {
        Type.F16: largest * 2**-11,
        Type.BF16: largest * 2**-8,
        Type.Q8_0: largest / 127,
        Type.Q6_K: largest / 32,
        Type.Q5_K: extent / 31,
        Type.Q5_1: extent / 31,
        Type.Q5_0: largest / 16,
        Type.Q4_K: extent / 15,
        Type.Q4_0: largest / 8,
    }[tensor_type]


@pytest.mark.parametrize("tensor_type", QUANTISED, ids=lambda tensor_type: tensor_type.name)
def test_every_type_round_trips_within_its_step(tensor_type: Type) -> None:
    values = noise(8, 512)
    data = quantize_rows(values, tensor_type).reshape(len(values), -1)
    restored = quants.dequantize(data, tensor_type)
    assert float(np.abs(restored - values).max()) <= step(values, tensor_type)


def test_q8_0_on_literal_values() -> None:
    """The largest value is 127 steps: an F16 scale, then a signed byte a value."""
    values = np.zeros((1, 32), np.float32)
    values[0, :4] = [127, -127, 1, 2.4]
    data = quantize_rows(values, Type.Q8_0)
    assert data[:2].view(np.float16)[0] == 1.0
    assert data[2:6].view(np.int8).tolist() == [127, -127, 1, 2]
    assert not data[6:].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tensor_type", [Type.F32, Type.Q8_0])
def test_values_that_are_not_finite_are_refused(
    quantize: Quantizer, tensor_type: Type, bad: float
) -> None:
    """The message names the tensor, which an abort or a bad file would not."""
    values = noise(2, 32)
    values[1, 7] = bad
    with pytest.raises(ConversionError, match="x has NaN or infinite values"):
        quantize("x", values, tensor_type)


def test_values_beyond_f16_are_refused(quantize: Quantizer) -> None:
    """They would become infinite; 65,504 is F16's largest value."""
    values = np.full((1, 32), -65504, np.float32)
    assert quantize("x", values, Type.F16).view(np.float16).tolist() == [-65504] * 32
    values[0, 5] = -65536
    with pytest.raises(ConversionError, match="x has values beyond F16's range: use BF16 or F32"):
        quantize("x", values, Type.F16)
    assert quantize("x", values, Type.BF16).size == 64


def test_f32_is_copied_as_it_is(quantize: Quantizer) -> None:
    values = noise(6, 32)[::2]
    data = quantize("x", values, Type.F32)
    np.testing.assert_array_equal(data.view("<f4").reshape(3, 32), values)


@pytest.mark.parametrize(
    "tensor_type", [Type.Q8_0, Type.Q4_K], ids=lambda tensor_type: tensor_type.name
)
def test_chunks_give_the_same_bytes_as_one_call(
    quantize: Quantizer, monkeypatch: pytest.MonkeyPatch, tensor_type: Type
) -> None:
    """Chunks are joined in order, including a smaller last chunk."""
    values = noise(7, 256)
    expected = quantize_rows(values, tensor_type)
    for rows in (1, 2, 7):
        monkeypatch.setattr(t5gguf.quantize, "CHUNK_VALUES", rows * 256)
        np.testing.assert_array_equal(quantize("x", values, tensor_type), expected)


def test_a_row_larger_than_a_chunk_is_quantised_by_itself(
    quantize: Quantizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(t5gguf.quantize, "CHUNK_VALUES", 1)
    values = noise(2, 256)
    expected = quantize_rows(values, Type.Q8_0)
    np.testing.assert_array_equal(quantize("x", values, Type.Q8_0), expected)


def blas_threads() -> int:
    """Returns this process's threads after a product that is large enough for several."""
    square = np.ones((512, 512), np.float32)
    square @= square
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are enough


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux does")  # noqa: PTH112
def test_processes_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a process per core; numpy's BLAS would start a thread per core in each of them.

    The environment variable that limits them has its old value afterwards.
    """
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    for before in (None, "3"):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if before:
            monkeypatch.setenv("OMP_NUM_THREADS", before)
        with open_quantizer() as started:
            assert started._pool.submit(blas_threads).result() == 1
        assert os.environ.get("OMP_NUM_THREADS") == before


def test_a_process_that_dies_is_a_conversion_error() -> None:
    """A native abort ends a child process, not the command that reports the error."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(os._exit, 3)
        with pytest.raises(ConversionError, match="x: a process that quantised to Q8_0 ended"):
            Quantizer(pool)("x", noise(1, 32), Type.Q8_0)
