/* Matrix products with vectors of 256 bits, for x86 processors without AVX-512.
 *
 * Included by one file an instruction set, which defines before:
 *   TARGET       the attribute that names the instruction sets
 * and between this file's two parts (it includes it twice, the second time with PRODUCTS defined):
 *   words_per_block(bits)  how many words of 32 bits store_values writes for a block
 *   max_tile(bits)         input rows multiplied at once: what 16 registers hold
 *   store_values           writes 32 quantised values as add_products reads them
 *   add_products           adds the products of four values of 16 matrix rows and of an input row
 *   total                  the sum of a block for 8 matrix rows
 *
 * A block's sum is an integer, and floating-point sums have the order of the AVX-512 kernels: the
 * results of packed matrices are theirs, bit by bit.
 */
#ifndef T5ENGINE_X86_256_H
#define T5ENGINE_X86_256_H

#include "kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline)) TARGET
#define UNROLL _Pragma("GCC unroll 16")
enum { LANES = 8, PREFETCH_DISTANCE = 4096 }; /* F32 values of a register; bytes */
enum { BUFFER_SIZE = 4 * MAX_COLUMNS };       /* values quantised at once */

/* The sum of 16 values, in the order of _mm512_reduce_add_ps. */
INLINE float reduce_add(__m256 low, __m256 high) {
    const __m256 eight = _mm256_add_ps(low, high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

INLINE float reduce_max(__m256 eight) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

INLINE int32_t reduce_add_epi32(__m256i eight) {
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}

/* Returns an input row after norm and ReLU: the input itself if there is neither, else `buffer`. */
TARGET static const float *transform_input(const struct product *p, int64_t input_row,
                                           float *buffer) {
    const int64_t columns = p->matrix->columns;
    const float *input = p->input + input_row * columns;
    if (!p->norm && !p->relu) return input;
    __m256 scale = _mm256_set1_ps(1);
    if (p->norm) {
        __m256 squares[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        for (int64_t i = 0; i < columns; i += 2 * LANES) {
            for (int half = 0; half < 2; half++) {
                const __m256 x = _mm256_loadu_ps(input + i + LANES * half);
                squares[half] = _mm256_fmadd_ps(x, x, squares[half]);
            }
        }
        const float mean = reduce_add(squares[0], squares[1]) / (float)columns;
        scale = _mm256_set1_ps(1 / sqrtf(mean + p->epsilon));
    }
    for (int64_t i = 0; i < columns; i += LANES) {
        __m256 x = _mm256_loadu_ps(input + i);
        if (p->norm) {
            x = _mm256_mul_ps(x, scale);
            x = _mm256_mul_ps(x, _mm256_loadu_ps(p->norm + i));
        }
        if (p->relu) x = _mm256_max_ps(_mm256_setzero_ps(), x); /* this order keeps NaN */
        _mm256_storeu_ps(buffer + i, x);
    }
    return buffer;
}

/* Where a tile's results go, and the residual that is added, or NULL. Both have a row for each
 * input row, `stride` values apart. */
struct output_tile {
    float *output;
    const float *residual;
    int64_t stride;
};

INLINE struct output_tile output_at(const struct product *p, int64_t input_row, int64_t row) {
    const int64_t stride = p->matrix->rows, offset = input_row * stride + row;
    const float *residual = p->residual ? p->residual + offset : NULL;
    return (struct output_tile){p->output + offset, residual, stride};
}

/* Multiplies `rows` matrix rows of F16 by `count` input rows; rows x count is at most 6. */
INLINE void multiply_rows(const uint8_t *weights, int rows, int64_t columns,
                          const float *const *input, int count, struct output_tile tile) {
    __m256 sum[6][2];
    UNROLL for (int i = 0; i < rows * count; i++) sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    for (int64_t i = 0; i < columns; i += 2 * LANES) {
        UNROLL for (int half = 0; half < 2; half++) {
            const int64_t column = i + LANES * half;
            __m256 w[4];
            UNROLL for (int r = 0; r < rows; r++) {
                const __m128i *f16 = (const __m128i *)(weights + 2 * (r * columns + column));
                w[r] = _mm256_cvtph_ps(_mm_loadu_si128(f16));
            }
            UNROLL for (int n = 0; n < count; n++) {
                const __m256 x = _mm256_loadu_ps(input[n] + column);
                UNROLL for (int r = 0; r < rows; r++) {
                    sum[rows * n + r][half] = _mm256_fmadd_ps(w[r], x, sum[rows * n + r][half]);
                }
            }
        }
    }
    for (int n = 0; n < count; n++) {
        for (int r = 0; r < rows; r++) {
            const int64_t offset = n * tile.stride + r;
            const float residual = tile.residual ? tile.residual[offset] : 0;
            const __m256 *halves = sum[rows * n + r];
            tile.output[offset] = reduce_add(halves[0], halves[1]) + residual;
        }
    }
}

TARGET static void multiply_f16(const struct product *p, int64_t first_group, int64_t end_group) {
    static _Thread_local float transformed[BUFFER_SIZE];
    const int64_t columns = p->matrix->columns, capacity = BUFFER_SIZE / columns;
    const uint8_t *weights = p->matrix->data;
    for (int64_t start = 0; start < p->count; start += capacity) {
        const int64_t count = p->count - start < capacity ? p->count - start : capacity;
        const float *input[BUFFER_SIZE / BLOCK];
        for (int64_t n = 0; n < count; n++) {
            input[n] = transform_input(p, start + n, transformed + n * columns);
        }
        for (int64_t row = GROUP * first_group; row < GROUP * end_group; row += 4) {
            const uint8_t *four_rows = weights + 2 * row * columns;
            int64_t n = 0;
            for (; n + 3 <= count; n += 3) {
                for (int64_t r = 0; r < 4; r += 2) {
                    multiply_rows(four_rows + 2 * r * columns, 2, columns, input + n, 3,
                                  output_at(p, start + n, row + r));
                }
            }
            for (; n < count; n++) {
                multiply_rows(four_rows, 4, columns, input + n, 1, output_at(p, start + n, row));
            }
        }
    }
}

#endif

#ifdef PRODUCTS

/* Input rows in blocks of 32. zero_point_sum = -zero_point * sum(values): packed weights are
 * unsigned, weight = packed - zero_point, so sum(weight * value) = sum(packed * value) +
 * zero_point_sum. */
struct quantised {
    int32_t words[BUFFER_SIZE / 2];
    float scales[BUFFER_SIZE / BLOCK];
    int32_t zero_point_sum[BUFFER_SIZE / BLOCK];
};

/* Quantises an input row into `blocks` blocks of q, from first_block on. */
INLINE void quantise(int bits, const float *input, int64_t blocks, int zero_point,
                     int64_t first_block, struct quantised *q) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
    for (int64_t block = 0; block < blocks; block++) {
        __m256 x[4], max = _mm256_setzero_ps(), unordered = _mm256_setzero_ps();
        for (int i = 0; i < 4; i++) {
            x[i] = _mm256_loadu_ps(input + BLOCK * block + LANES * i);
            max = _mm256_max_ps(_mm256_and_ps(x[i], magnitude), max);
            unordered = _mm256_or_ps(unordered, _mm256_cmp_ps(x[i], x[i], _CMP_UNORD_Q));
        }
        const int has_nan = _mm256_movemask_ps(unordered); /* max ignores NaN */
        const float max_abs = reduce_max(max);
        const __m256 inverse = _mm256_set1_ps(max_abs > 0 ? 127 / max_abs : 0);
        __m256i v[4];
        for (int i = 0; i < 4; i++) v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x[i], inverse));
        const __m256i sum =
            _mm256_add_epi32(_mm256_add_epi32(v[0], v[1]), _mm256_add_epi32(v[2], v[3]));
        const __m256i packed =
            _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
        const __m256i lane_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        store_values(bits, _mm256_permutevar8x32_epi32(packed, lane_order),
                     q->words + (first_block + block) * words_per_block(bits));
        q->scales[first_block + block] = has_nan ? NAN : max_abs / 127;
        q->zero_point_sum[first_block + block] =
            (int32_t)(0u - (uint32_t)zero_point * (uint32_t)reduce_add_epi32(sum));
    }
}

/* Multiplies a group's 16 matrix rows by `count` input rows, from the row `first` of q on. */
INLINE void multiply_group(int bits, const uint8_t *group, int64_t blocks,
                           const struct quantised *q, int64_t first, int count,
                           struct output_tile tile) {
    const __m256i low_nibble = _mm256_set1_epi8(15);
    __m256 sum[6][2];
    UNROLL for (int n = 0; n < count; n++) sum[n][0] = sum[n][1] = _mm256_setzero_ps();
    for (int64_t block = 0; block < blocks; block++) {
        const uint8_t *weights = group + block * block_bytes(bits);
        const uint8_t *scales = weights + bits * VECTOR_BYTES;
        const int32_t *words = q->words + (first * blocks + block) * words_per_block(bits);
        const int64_t stride = blocks * words_per_block(bits); /* to the next input row */
        __m256i dot[6][2];
        UNROLL for (int n = 0; n < count; n++) dot[n][0] = dot[n][1] = _mm256_setzero_si256();
        UNROLL for (int i = 0; i < bits; i++) {
            const uint8_t *vector = weights + VECTOR_BYTES * i;
            if (count > 1) _mm_prefetch((const char *)vector + PREFETCH_DISTANCE, _MM_HINT_T0);
            __m256i w[2], high[2];
            for (int half = 0; half < 2; half++) {
                w[half] = _mm256_loadu_si256((const __m256i *)(vector + VECTOR_BYTES / 2 * half));
                if (bits == 4) {
                    high[half] = _mm256_and_si256(_mm256_srli_epi16(w[half], 4), low_nibble);
                    w[half] = _mm256_and_si256(w[half], low_nibble);
                }
            }
            UNROLL for (int n = 0; n < count; n++) {
                add_products(bits, dot[n], w, words + n * stride + i);
                if (bits == 4) add_products(bits, dot[n], high, words + n * stride + 4 + i);
            }
        }
        UNROLL for (int half = 0; half < 2; half++) {
            const uint8_t *f16 = scales + SCALE_BYTES / 2 * half;
            const __m256 weight_scale = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)f16));
            UNROLL for (int n = 0; n < count; n++) {
                const int64_t input_block = (first + n) * blocks + block;
                const __m256i integer = _mm256_add_epi32(
                    total(bits, dot[n][half]), _mm256_set1_epi32(q->zero_point_sum[input_block]));
                const __m256 scale =
                    _mm256_mul_ps(weight_scale, _mm256_set1_ps(q->scales[input_block]));
                sum[n][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(integer), scale, sum[n][half]);
            }
        }
    }
    for (int n = 0; n < count; n++) {
        for (int half = 0; half < 2; half++) {
            const int64_t offset = n * tile.stride + LANES * half;
            __m256 result = sum[n][half];
            if (tile.residual) {
                result = _mm256_add_ps(result, _mm256_loadu_ps(tile.residual + offset));
            }
            _mm256_storeu_ps(tile.output + offset, result);
        }
    }
}

/* Multiplies a group by the largest tile that `remaining` input rows fill. Returns its size. */
INLINE int multiply_tile(int bits, const uint8_t *group, int64_t blocks, const struct quantised *q,
                         int64_t first, int64_t remaining, struct output_tile tile) {
#define TRY_SIZE(size)                                               \
    if (remaining >= (size) && max_tile(bits) >= (size)) {           \
        multiply_group(bits, group, blocks, q, first, (size), tile); \
        return (size);                                               \
    }
    TRY_SIZE(6)
    TRY_SIZE(4)
    TRY_SIZE(3)
    TRY_SIZE(2)
#undef TRY_SIZE
    multiply_group(bits, group, blocks, q, first, 1, tile);
    return 1;
}

INLINE void multiply_packed(int bits, const struct product *p, int64_t first_group,
                            int64_t end_group) {
    static _Thread_local struct quantised quantised;
    static _Thread_local float transformed[MAX_COLUMNS];
    const int64_t blocks = p->matrix->columns / BLOCK;
    const int64_t group_stride = group_bytes(p->matrix->format, p->matrix->columns);
    const int64_t capacity = BUFFER_SIZE / p->matrix->columns; /* input rows */
    for (int64_t start = 0; start < p->count; start += capacity) {
        const int64_t count = p->count - start < capacity ? p->count - start : capacity;
        for (int64_t n = 0; n < count; n++) {
            const float *input = transform_input(p, start + n, transformed);
            quantise(bits, input, blocks, p->matrix->format->zero_point, n * blocks, &quantised);
        }
        for (int64_t group = first_group; group < end_group; group++) {
            const uint8_t *data = p->matrix->data + group * group_stride;
            for (int64_t n = 0; n < count;) {
                n += multiply_tile(bits, data, blocks, &quantised, n, count - n,
                                   output_at(p, start + n, group * GROUP));
            }
        }
    }
}

/* A ggml_custom_op_t. The matrix rows are divided among the threads. */
TARGET static void multiply(void *tensor, int thread, int threads, void *product) {
    (void)tensor;
    const struct product *p = product;
    const int64_t groups = p->matrix->rows / GROUP;
    const int64_t first = groups * thread / threads, end = groups * (thread + 1) / threads;
    switch (p->matrix->format->bits) {
    case 4:
        multiply_packed(4, p, first, end);
        break;
    case 8:
        multiply_packed(8, p, first, end);
        break;
    default:
        multiply_f16(p, first, end);
    }
}

#endif
