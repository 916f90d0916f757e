/* Matrix products with few input rows, on x86 processors with AVX-512 and VNNI.
 *
 * Decoding multiplies every matrix by one input row, or by a few: the limit is how fast memory
 * delivers the weights. Each vector of weights is unpacked once for all input rows of a tile, and
 * every input row is an accumulator of its own, so that no instruction waits for the one before.
 *
 * Input rows are quantised in blocks of 32 as ggml's Q8_0 are, with scales of F32. The result of
 * an input row does not depend on how many are multiplied at once.
 */
#if defined(__x86_64__)
#include "kernels.h"

#include <immintrin.h>
#include <math.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define UNROLL _Pragma("GCC unroll 16")
enum {
    PREFETCH_DISTANCE = 4096
}; /* bytes, for several input rows; one row is a tenth faster without */
enum { MAX_TILE = 12, F16_TILE = 4 }; /* input rows multiplied at once */
enum { WORDS = BLOCK / 4 };           /* words of four values per block */
/* Values quantised at once: an input of 128 tokens to t5-base, so that its weights are read once.
 */
enum { BUFFER_SIZE = 24 * MAX_COLUMNS };

static int is_supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

/* Input rows in blocks of 32, in tiles of rows that are multiplied at once. The words of a tile of
 * n rows are ordered by block, then by word, then by row: so the n words that one vector of weights
 * meets stand side by side, and one register addresses them all. Scales and sums are ordered by
 * block, then by row. zero_point_sum = -zero_point * sum(values): packed weights are
 * unsigned, weight = packed - zero_point, so sum(weight * value) = sum(packed * value) +
 * zero_point_sum. */
struct quantised {
    int32_t words[BUFFER_SIZE / BLOCK * WORDS]; /* four values each */
    float scales[BUFFER_SIZE / BLOCK];
    int32_t zero_point_sum[BUFFER_SIZE / BLOCK];
};

/* Returns an input row after norm and ReLU: the input itself if there is neither, else `buffer`. */
TARGET static const float *transform_input(const struct product *p, int64_t input_row,
                                           float *buffer) {
    const int64_t columns = p->matrix->columns;
    const float *input = p->input + input_row * columns;
    if (!p->norm && !p->relu) return input;
    float scale = 1;
    if (p->norm) {
        __m512 squares = _mm512_setzero_ps();
        for (int64_t i = 0; i < columns; i += 16) {
            const __m512 x = _mm512_loadu_ps(input + i);
            squares = _mm512_fmadd_ps(x, x, squares);
        }
        scale = 1 / sqrtf(_mm512_reduce_add_ps(squares) / (float)columns + p->epsilon);
    }
    for (int64_t i = 0; i < columns; i += 16) {
        __m512 x = _mm512_loadu_ps(input + i);
        if (p->norm) {
            x = _mm512_mul_ps(x, _mm512_set1_ps(scale));
            x = _mm512_mul_ps(x, _mm512_loadu_ps(p->norm + i));
        }
        if (p->relu) x = _mm512_max_ps(_mm512_setzero_ps(), x); /* this order keeps NaN */
        _mm512_storeu_ps(buffer + i, x);
    }
    return buffer;
}

/* Returns the rows of the next tile, of so many that remain. The larger the tile, the less often
 * weights are unpacked. */
static inline int64_t tile_size(int64_t remaining) {
    return remaining >= MAX_TILE ? MAX_TILE : remaining >= 8 ? 8 : remaining >= 4 ? 4 : remaining;
}

/* Quantises the n-th of `count` input rows, which has so many blocks. */
INLINE void quantise(int bits, const float *input, int64_t blocks, int zero_point, int64_t n,
                     int64_t count, struct quantised *q) {
    (void)bits;
    int64_t first = 0; /* row of the tile */
    while (n >= first + tile_size(count - first)) first += tile_size(count - first);
    const int64_t size = tile_size(count - first), lane = n - first;
    int32_t *words = q->words + first * blocks * WORDS + lane;
    float *scales = q->scales + first * blocks + lane;
    int32_t *sums = q->zero_point_sum + first * blocks + lane;
    for (int64_t block = 0; block < blocks; block++) {
        const __m512 low = _mm512_loadu_ps(input + BLOCK * block);
        const __m512 high = _mm512_loadu_ps(input + BLOCK * block + 16);
        const float max_abs =
            _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
        const __m512 inverse = _mm512_set1_ps(max_abs > 0 ? 127 / max_abs : 0);
        const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
        const __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
        int32_t row[WORDS];
        _mm_storeu_si128((__m128i *)row, _mm512_cvtsepi32_epi8(a));
        _mm_storeu_si128((__m128i *)row + 1, _mm512_cvtsepi32_epi8(b));
        for (int i = 0; i < WORDS; i++) words[(block * WORDS + i) * size] = row[i];
        const int has_nan = _mm512_cmp_ps_mask(low, high, _CMP_UNORD_Q); /* max_abs ignores NaN */
        const int32_t total = _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
        scales[block * size] = has_nan ? NAN : max_abs / 127;
        sums[block * size] = (int32_t)(0u - (uint32_t)zero_point * (uint32_t)total);
    }
}

/* Multiplies a group's 16 matrix rows by `count` input rows, from the row `first` of q on. */
INLINE void multiply_group(int bits, const uint8_t *group, int64_t blocks,
                           const struct quantised *q, int64_t first, int count,
                           struct output_tile tile) {
    const __m512i low_nibble = _mm512_set1_epi8(15);
    __m512 sum[MAX_TILE];
    UNROLL for (int n = 0; n < count; n++) sum[n] = _mm512_setzero_ps();
    for (int64_t block = 0; block < blocks; block++) {
        const uint8_t *weights = group + block * block_bytes(bits);
        const uint8_t *scales = weights + bits * VECTOR_BYTES;
        const int64_t input_block = first * blocks + block * count;
        const int32_t *words = q->words + first * blocks * WORDS + block * WORDS * count;
        __m512i dot[MAX_TILE];
        UNROLL for (int n = 0; n < count; n++) {
            dot[n] = _mm512_set1_epi32(q->zero_point_sum[input_block + n]);
        }
        UNROLL for (int i = 0; i < bits; i++) {
            const uint8_t *vector = weights + VECTOR_BYTES * i;
            if (count > 1) _mm_prefetch((const char *)vector + PREFETCH_DISTANCE, _MM_HINT_T0);
            const __m512i packed = _mm512_loadu_si512(vector);
            const __m512i w = bits == 4 ? _mm512_and_si512(packed, low_nibble) : packed;
            UNROLL for (int n = 0; n < count; n++) {
                const __m512i x = _mm512_set1_epi32(words[i * count + n]);
                dot[n] = _mm512_dpbusd_epi32(dot[n], w, x);
            }
            if (bits == 8) continue;
            const __m512i high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), low_nibble);
            UNROLL for (int n = 0; n < count; n++) {
                const __m512i x = _mm512_set1_epi32(words[(4 + i) * count + n]);
                dot[n] = _mm512_dpbusd_epi32(dot[n], high, x);
            }
        }
        const __m256i *f16_scales = (const __m256i *)scales;
        const __m512 weight_scale = _mm512_cvtph_ps(_mm256_loadu_si256(f16_scales));
        UNROLL for (int n = 0; n < count; n++) {
            const __m512 input_scale = _mm512_set1_ps(q->scales[input_block + n]);
            const __m512 scale = _mm512_mul_ps(weight_scale, input_scale);
            sum[n] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[n]), scale, sum[n]);
        }
    }
    for (int n = 0; n < count; n++) {
        const int64_t offset = n * tile.stride;
        if (tile.residual) sum[n] = _mm512_add_ps(sum[n], _mm512_loadu_ps(tile.residual + offset));
        _mm512_storeu_ps(tile.output + offset, sum[n]);
    }
}

/* Multiplies a group by the next tile of `remaining` input rows. Returns its size. Each size is
 * compiled separately. */
INLINE int multiply_tile(int bits, const uint8_t *group, int64_t blocks, const struct quantised *q,
                         int64_t first, int64_t remaining, struct output_tile tile) {
#define TRY_SIZE(size)                                               \
    if (remaining >= (size)) {                                       \
        multiply_group(bits, group, blocks, q, first, (size), tile); \
        return (size);                                               \
    }
    TRY_SIZE(MAX_TILE)
    TRY_SIZE(8)
    TRY_SIZE(4)
    TRY_SIZE(3)
    TRY_SIZE(2)
#undef TRY_SIZE
    multiply_group(bits, group, blocks, q, first, 1, tile);
    return 1;
}

/* Multiplies four matrix rows of F16 by `count` input rows. */
INLINE void multiply_four_rows(const uint8_t *weights, int64_t columns, const float *const *input,
                               int count, struct output_tile tile) {
    __m512 sum[4][F16_TILE];
    UNROLL for (int i = 0; i < 4 * count; i++) sum[i % 4][i / 4] = _mm512_setzero_ps();
    for (int64_t i = 0; i < columns; i += 16) {
        const char *next = (const char *)weights + 8 * (columns + i); /* of the next four rows */
        _mm_prefetch(next, _MM_HINT_T1);
        _mm_prefetch(next + 64, _MM_HINT_T1);
        UNROLL for (int r = 0; r < 4; r++) {
            const uint8_t *f16 = weights + 2 * (r * columns + i);
            const __m512 w = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)f16));
            UNROLL for (int n = 0; n < count; n++) {
                sum[r][n] = _mm512_fmadd_ps(w, _mm512_loadu_ps(input[n] + i), sum[r][n]);
            }
        }
    }
    for (int n = 0; n < count; n++) {
        for (int r = 0; r < 4; r++) {
            const int64_t offset = n * tile.stride + r;
            const float residual = tile.residual ? tile.residual[offset] : 0;
            tile.output[offset] = _mm512_reduce_add_ps(sum[r][n]) + residual;
        }
    }
}

#include "multiply.h"

const struct kernels x86_avx512_kernels = {
    .name = "avx512",
    .is_supported = is_supported,
    .can_multiply = is_divisible,
    .can_attend = x86_avx512_can_attend,
    .multiply = multiply,
    .attend = x86_avx512_attend,
};
#endif
