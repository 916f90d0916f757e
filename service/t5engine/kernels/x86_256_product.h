/* Products of packed matrices with vectors of 256 bits. The including file defines before:
 *   words_per_block(bits)  how many words of 32 bits store_values writes for a block
 *   max_tile(bits)         input rows multiplied at once: what 16 registers hold
 *   store_values           writes 32 quantised values as add_products reads them
 *   add_products           adds the products of four values of 16 matrix rows and of an input row
 *   total                  the sum of a block for 8 matrix rows
 * A block's sum is an integer, so the results are those of the AVX-512 kernels, bit by bit. */
#include "x86_256.h"

/* Input rows in blocks of 32. zero_point_sum = -zero_point * sum(values): packed weights are
 * unsigned, weight = packed - zero_point, so sum(weight * value) = sum(packed * value) +
 * zero_point_sum. */
struct quantised {
    int32_t words[BUFFER_SIZE / 2];
    float scales[BUFFER_SIZE / BLOCK];
    int32_t zero_point_sum[BUFFER_SIZE / BLOCK];
};

/* Quantises the n-th input row into its `blocks` blocks of q. */
INLINE void quantise(int bits, const float *input, int64_t blocks, int zero_point, int64_t n,
                     int64_t count, struct quantised *q) {
    (void)count;
    const int64_t first_block = n * blocks;
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

#include "multiply.h"
