/* What products with vectors of 256 bits share, whatever multiplies the bytes: sums, an input row's
 * norm and ReLU, and products of F16. The including file defines TARGET, the attribute that names
 * its instruction sets. Floating-point sums have the order of the AVX-512 kernels. */
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

enum { F16_TILE = 3 }; /* input rows: with four matrix rows 12 sums, of 16 registers */

/* Adds the products of a vector of four matrix rows and of `count` input rows to their sums. */
INLINE void add_f16_products(const uint8_t *weights, int64_t columns, const float *const *input,
                             int count, int64_t column, __m256 sum[F16_TILE][4]) {
    __m256 x[F16_TILE];
    UNROLL for (int n = 0; n < count; n++) x[n] = _mm256_loadu_ps(input[n] + column);
    UNROLL for (int r = 0; r < 4; r++) {
        const uint8_t *f16 = weights + 2 * (r * columns + column);
        const __m256 w = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)f16));
        UNROLL for (int n = 0; n < count; n++) sum[n][r] = _mm256_fmadd_ps(w, x[n], sum[n][r]);
    }
}

/* Multiplies four matrix rows of F16 by `count` input rows: 1, or as many as a tile has. */
INLINE void multiply_four_rows(const uint8_t *weights, int64_t columns, const float *const *input,
                               int count, struct output_tile tile) {
    __m256 even[F16_TILE][4], odd[F16_TILE][4]; /* the halves of the registers of AVX-512 */
    UNROLL for (int i = 0; i < 4 * count; i++) {
        even[i / 4][i % 4] = odd[i / 4][i % 4] = _mm256_setzero_ps();
    }
    for (int64_t column = 0; column < columns; column += 2 * LANES) {
        const char *next = (const char *)weights + 8 * (columns + column); /* four rows further */
        _mm_prefetch(next, _MM_HINT_T1);
        _mm_prefetch(next + 64, _MM_HINT_T1);
        add_f16_products(weights, columns, input, count, column, even);
        if (count == 1) add_f16_products(weights, columns, input, count, column + LANES, odd);
    }
    /* A whole tile has no registers left for the odd vectors' sums: they take a second pass. */
    for (int64_t column = LANES; count > 1 && column < columns; column += 2 * LANES) {
        add_f16_products(weights, columns, input, count, column, odd);
    }
    for (int n = 0; n < count; n++) {
        for (int r = 0; r < 4; r++) {
            const int64_t offset = n * tile.stride + r;
            const float residual = tile.residual ? tile.residual[offset] : 0;
            tile.output[offset] = reduce_add(even[n][r], odd[n][r]) + residual;
        }
    }
}

#endif
