/* What a search computes over the logits of a whole vocabulary.
 *
 * Plain C, which the compiler vectorises for each instruction set. The order of the additions is
 * the same for all, so results are the same bit for bit.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math") /* else a comparison is control flow, and no vector */
#endif
#include <math.h>
#include <string.h>

#include "kernels.h"

/* Values at a time, more than a compiler unrolls instead of vectorising; values that are summed in
 * F32 before the sum goes on in F64. */
enum { LANES = 64, STRIPE = 4096 };

#define INLINE static inline __attribute__((always_inline))

/* e^x for x of at most 0, to 2 units in the last position; what is below -87 counts as -87. The
 * reduction by ln 2 is Cody and Waite's, the polynomial that of Cephes' expf. */
INLINE float exponential(float x) {
    const float shift = 12582912.0F; /* 1.5 * 2^23: adding it rounds to a whole number */
    x = x > -87.0F ? x : -87.0F;
    const float power = (x * 1.44269504F + shift) - shift;
    const float rest = (x - power * 0.693359375F) + power * 2.12194440e-4F;
    float sum = 1.9875691500e-4F;
    sum = sum * rest + 1.3981999507e-3F;
    sum = sum * rest + 8.3334519073e-3F;
    sum = sum * rest + 4.1665795894e-2F;
    sum = sum * rest + 1.6666665459e-1F;
    sum = sum * rest + 5.0000001201e-1F;
    sum = sum * rest * rest + rest + 1.0F;
    const int32_t bits = ((int32_t)power + 127) * (1 << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

INLINE float highest(const float *values, int64_t count) {
    float lanes[LANES];
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = -INFINITY;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] = values[i + lane] > lanes[lane] ? values[i + lane] : lanes[lane];
    for (; i < count; i++) lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int lane = 0; lane < width; lane++)
            lanes[lane] = lanes[lane + width] > lanes[lane] ? lanes[lane + width] : lanes[lane];
    return lanes[0];
}

INLINE double log_sum_exp(const float *values, int64_t count) {
    const float offset = highest(values, count);
    if (!isfinite(offset)) return (double)offset;
    double total = 0;
    for (int64_t start = 0; start < count; start += STRIPE) {
        const int64_t end = start + STRIPE < count ? start + STRIPE : count;
        float lanes[LANES] = {0};
        int64_t i = start;
        for (; i + LANES <= end; i += LANES)
            for (int lane = 0; lane < LANES; lane++)
                lanes[lane] += exponential(values[i + lane] - offset);
        for (; i < end; i++) lanes[0] += exponential(values[i] - offset);
        for (int lane = 0; lane < LANES; lane++) total += (double)lanes[lane];
    }
    return (double)offset + log(total);
}

/* The list is short and sorted, and few values get into it: most blocks are left after one look. */
INLINE int64_t best(const float *const *rows, int64_t row_count, int64_t n_vocab,
                    const float *offsets, int64_t max_results, int64_t *indices, float *scores) {
    int64_t results = 0;
    for (int64_t row = 0; row < row_count; row++) {
        for (int64_t start = 0; start < n_vocab; start += LANES) {
            const int64_t end = start + LANES < n_vocab ? start + LANES : n_vocab;
            float enough = results < max_results ? -INFINITY : scores[max_results - 1];
            if (!(highest(rows[row] + start, end - start) + offsets[row] > enough)) continue;
            for (int64_t i = start; i < end; i++) {
                const float score = rows[row][i] + offsets[row];
                if (!(score > enough)) continue;
                int64_t position = results < max_results ? results++ : max_results - 1;
                for (; position > 0 && score > scores[position - 1]; position--) {
                    indices[position] = indices[position - 1];
                    scores[position] = scores[position - 1];
                }
                indices[position] = row * n_vocab + i;
                scores[position] = score;
                enough = results < max_results ? -INFINITY : scores[max_results - 1];
            }
        }
    }
    return results;
}

/* One copy for each instruction set, and one for all others. */
#define FOR_TARGET(name, target)                                                                  \
    target static double log_sum_exp_##name(const float *values, int64_t count) {                 \
        return log_sum_exp(values, count);                                                        \
    }                                                                                             \
    target static int64_t best_##name(const float *const *rows, int64_t row_count,                \
                                      int64_t n_vocab, const float *offsets, int64_t max_results, \
                                      int64_t *indices, float *scores) {                          \
        return best(rows, row_count, n_vocab, offsets, max_results, indices, scores);             \
    }

FOR_TARGET(plain, )
#if defined(__x86_64__)
FOR_TARGET(avx2, __attribute__((target("avx2"))))
FOR_TARGET(avx512, __attribute__((target("avx512f,prefer-vector-width=512"))))
#endif

/* Returns log(sum(exp(values))), to some 1e-7; -inf if all are. None may be NaN. */
double t5_log_sum_exp(const float *values, int64_t count) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return log_sum_exp_avx512(values, count);
    if (__builtin_cpu_supports("avx2")) return log_sum_exp_avx2(values, count);
#endif
    return log_sum_exp_plain(values, count);
}

/* Finds the `max_results` highest scores above -inf, where the score of a value is the value plus
 * its row's offset: their indices in all rows together, the highest first, equal ones in order.
 * Returns how many there are. No value may be NaN, and `max_results` is at least 1. */
int64_t t5_best(const float *const *rows, int64_t row_count, int64_t n_vocab, const float *offsets,
                int64_t max_results, int64_t *indices, float *scores) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return best_avx512(rows, row_count, n_vocab, offsets, max_results, indices, scores);
    if (__builtin_cpu_supports("avx2"))
        return best_avx2(rows, row_count, n_vocab, offsets, max_results, indices, scores);
#endif
    return best_plain(rows, row_count, n_vocab, offsets, max_results, indices, scores);
}
