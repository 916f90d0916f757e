/* Matrix products with few input rows, on x86 processors with AVX-512 and VNNI.
 *
 * Decoding multiplies every matrix by one input row, or by a few: the limit is how fast memory
 * delivers the weights. ggml's kernels need more time for the arithmetic than memory needs for the
 * weights. These kernels unpack 64 weights per instruction, store the scales apart from the
 * weights, and prefetch.
 *
 * Input rows are quantised in blocks of 32 as ggml's Q8_0 are, with scales of F32. The result of
 * an input row does not depend on how many are multiplied at once.
 */
#if defined(__x86_64__)
#include "kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline)) AVX512
enum { PREFETCH_DISTANCE = 4096 }; /* bytes; 2048 to 8192 measured equally fast */
enum { MAX_TILE = 12, MAX_COLUMNS = 16384 }; /* input rows multiplied at once; matrix columns */
enum { BUFFER_SIZE = 4 * MAX_COLUMNS }; /* values quantised at once: four input rows or more */

static int is_supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

static int can_multiply(int64_t type, int64_t rows, int64_t columns) {
    return (type == F16 || type == Q4_0 || type == Q8_0) && rows % GROUP == 0 &&
           columns % BLOCK == 0 && columns > 0 && columns <= MAX_COLUMNS;
}

/* Input rows in blocks of 32. zero_point_sum = -zero_point * sum(values): packed weights are
 * unsigned, weight = packed - zero_point, so sum(weight * value) = sum(packed * value) +
 * zero_point_sum. */
struct quantised {
    int8_t values[BUFFER_SIZE];
    float scales[BUFFER_SIZE / BLOCK];
    int32_t zero_point_sum[BUFFER_SIZE / BLOCK];
};

/* Returns an input row after norm and ReLU: the input itself if there is neither, else `buffer`. */
AVX512 static const float *transform_input(const struct product *p, int64_t input_row,
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

/* Quantises an input row into `blocks` blocks of q, from first_block on. */
INLINE void quantise(const float *input, int64_t blocks, int zero_point, int64_t first_block,
                     struct quantised *q) {
    for (int64_t block = 0; block < blocks; block++) {
        const __m512 low = _mm512_loadu_ps(input + BLOCK * block);
        const __m512 high = _mm512_loadu_ps(input + BLOCK * block + 16);
        const float max_abs =
            _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
        const __m512 inverse = _mm512_set1_ps(max_abs > 0 ? 127 / max_abs : 0);
        const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
        const __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
        int8_t *values = q->values + BLOCK * (first_block + block);
        _mm_storeu_si128((__m128i *)values, _mm512_cvtsepi32_epi8(a));
        _mm_storeu_si128((__m128i *)(values + 16), _mm512_cvtsepi32_epi8(b));
        const int has_nan = _mm512_cmp_ps_mask(low, high, _CMP_UNORD_Q); /* max_abs ignores NaN */
        q->scales[first_block + block] = has_nan ? NAN : max_abs / 127;
        q->zero_point_sum[first_block + block] =
            -zero_point * _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
    }
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

/* Multiplies a group's 16 matrix rows by `count` input rows, from the row `first` of q on. */
INLINE void multiply_group(int type, const uint8_t *group, int64_t blocks,
                           const struct quantised *q, int64_t first, int count,
                           struct output_tile tile) {
    const int vectors = type == Q4_0 ? 4 : 8;
    const uint8_t *scales = group + blocks * vectors * 64;
    const __m512i low_nibble = _mm512_set1_epi8(15);
    __m512 sum[MAX_TILE];
    for (int n = 0; n < count; n++) sum[n] = _mm512_setzero_ps();
    for (int64_t block = 0; block < blocks; block++) {
        const uint8_t *weights = group + block * vectors * 64;
        __m512i w[8];
        for (int i = 0; i < vectors; i++) {
            _mm_prefetch((const char *)weights + 64 * i + PREFETCH_DISTANCE, _MM_HINT_T0);
            w[i] = _mm512_loadu_si512(weights + 64 * i);
        }
        for (int i = 0; i < 4 && type == Q4_0; i++) {
            w[4 + i] = _mm512_and_si512(_mm512_srli_epi16(w[i], 4), low_nibble);
            w[i] = _mm512_and_si512(w[i], low_nibble);
        }
        const __m256i *f16_scales = (const __m256i *)(scales + SCALE_BYTES * block);
        const __m512 weight_scale = _mm512_cvtph_ps(_mm256_loadu_si256(f16_scales));
        for (int n = 0; n < count; n++) {
            const int64_t input_block = (first + n) * blocks + block;
            int32_t x[8];
            memcpy(x, q->values + BLOCK * input_block, BLOCK);
            __m512i dot = _mm512_set1_epi32(q->zero_point_sum[input_block]);
            for (int i = 0; i < 8; i++) {
                dot = _mm512_dpbusd_epi32(dot, w[i], _mm512_set1_epi32(x[i]));
            }
            const __m512 input_scale = _mm512_set1_ps(q->scales[input_block]);
            const __m512 scale = _mm512_mul_ps(weight_scale, input_scale);
            sum[n] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, sum[n]);
        }
    }
    for (int n = 0; n < count; n++) {
        const int64_t offset = n * tile.stride;
        if (tile.residual) sum[n] = _mm512_add_ps(sum[n], _mm512_loadu_ps(tile.residual + offset));
        _mm512_storeu_ps(tile.output + offset, sum[n]);
    }
}

/* Multiplies a group by the largest tile that `remaining` input rows fill. Returns its size.
 * The larger the tile, the less often weights are unpacked. Each size is compiled separately. */
INLINE int multiply_tile(int type, const uint8_t *group, int64_t blocks,
                         const struct quantised *q, int64_t first, int64_t remaining,
                         struct output_tile tile) {
#define TRY_SIZE(size)                                               \
    if (remaining >= (size)) {                                       \
        multiply_group(type, group, blocks, q, first, (size), tile); \
        return (size);                                               \
    }
    TRY_SIZE(MAX_TILE)
    TRY_SIZE(8)
    TRY_SIZE(4)
    TRY_SIZE(3)
    TRY_SIZE(2)
#undef TRY_SIZE
    multiply_group(type, group, blocks, q, first, 1, tile);
    return 1;
}

AVX512 static void multiply_packed(int type, const struct product *p, int64_t first_group,
                                   int64_t end_group) {
    static __thread struct quantised quantised;
    static __thread float transformed[MAX_COLUMNS];
    const int64_t blocks = p->matrix->columns / BLOCK;
    const int64_t group_stride = blocks * ((int64_t)t5_block_size(type) + SCALE_BYTES);
    const int64_t capacity = BUFFER_SIZE / p->matrix->columns; /* input rows */
    const int zero_point = type == Q4_0 ? 8 : 128;
    for (int64_t start = 0; start < p->count; start += capacity) {
        const int64_t count = p->count - start < capacity ? p->count - start : capacity;
        for (int64_t n = 0; n < count; n++) {
            const float *input = transform_input(p, start + n, transformed);
            quantise(input, blocks, zero_point, n * blocks, &quantised);
        }
        for (int64_t group = first_group; group < end_group; group++) {
            const uint8_t *data = p->matrix->data + group * group_stride;
            for (int64_t n = 0; n < count;) {
                n += multiply_tile(type, data, blocks, &quantised, n, count - n,
                                   output_at(p, start + n, group * GROUP));
            }
        }
    }
}

/* Multiplies four matrix rows of F16 by one input row. */
INLINE void multiply_four_rows(const uint8_t *weights, int64_t columns, const float *input,
                               struct output_tile tile) {
    __m512 sum[4];
    for (int r = 0; r < 4; r++) sum[r] = _mm512_setzero_ps();
    for (int64_t i = 0; i < columns; i += 16) {
        const __m512 x = _mm512_loadu_ps(input + i);
        for (int r = 0; r < 4; r++) {
            const uint8_t *f16 = weights + 2 * (r * columns + i);
            const __m512 w = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)f16));
            sum[r] = _mm512_fmadd_ps(w, x, sum[r]);
        }
    }
    for (int r = 0; r < 4; r++) {
        tile.output[r] = _mm512_reduce_add_ps(sum[r]) + (tile.residual ? tile.residual[r] : 0);
    }
}

AVX512 static void multiply_f16(const struct product *p, int64_t first_group, int64_t end_group) {
    static __thread float transformed[BUFFER_SIZE];
    const int64_t columns = p->matrix->columns, capacity = BUFFER_SIZE / columns;
    for (int64_t start = 0; start < p->count; start += capacity) {
        const int64_t count = p->count - start < capacity ? p->count - start : capacity;
        const float *input[BUFFER_SIZE / BLOCK];
        for (int64_t n = 0; n < count; n++) {
            input[n] = transform_input(p, start + n, transformed + n * columns);
        }
        for (int64_t row = GROUP * first_group; row < GROUP * end_group; row += 4) {
            const uint8_t *weights = p->matrix->data + 2 * row * columns;
            for (int64_t n = 0; n < count; n++) {
                multiply_four_rows(weights, columns, input[n], output_at(p, start + n, row));
            }
        }
    }
}

/* A ggml_custom_op_t. The matrix rows are divided among the threads. */
static void multiply(void *tensor, int thread, int threads, void *product) {
    (void)tensor;
    const struct product *p = product;
    const int64_t groups = p->matrix->rows / GROUP;
    const int64_t first = groups * thread / threads, end = groups * (thread + 1) / threads;
    switch (p->matrix->type) {
    case Q4_0:
        multiply_packed(Q4_0, p, first, end);
        break;
    case Q8_0:
        multiply_packed(Q8_0, p, first, end);
        break;
    default:
        multiply_f16(p, first, end);
    }
}

const struct kernels x86_avx512_kernels = {
    .is_supported = is_supported,
    .can_multiply = can_multiply,
    .can_attend = x86_avx512_can_attend,
    .multiply = multiply,
    .attend = x86_avx512_attend,
};
#endif
