/* What a search computes over the logits of a whole vocabulary.
 *
 * Plain C, which the compiler vectorises for each instruction set. The order of the additions is
 * the same for all, so results are the same bit for bit.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math") /* else a comparison is control flow, and no vector */
#endif
#include <math.h>
#include <stdbool.h>
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

/* Whether no value is infinite or NaN. */
INLINE bool are_finite(const float *values, int64_t count) {
    int32_t lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] |= !(values[i + lane] - values[i + lane] == 0.0F);
    for (; i < count; i++) lanes[0] |= !(values[i] - values[i] == 0.0F);
    int32_t found = 0;
    for (int lane = 0; lane < LANES; lane++) found |= lanes[lane];
    return found == 0;
}

INLINE int64_t find_highest(const float *values, int64_t count) {
    const float value = highest(values, count);
    int64_t i = 0;
    while (values[i] != value) i++;
    return i;
}

/* Token ids that count as -inf, in ascending order. */
struct excluded {
    const int64_t *ids;
    int64_t count;
};

/* The best scores so far, the highest first: indices in all rows together, log-probabilities. */
struct ranking {
    int64_t max_results, results;
    int64_t *indices;
    float *scores, *logprobs;
};

INLINE bool is_excluded(struct excluded excluded, int64_t token) {
    int64_t low = 0, high = excluded.count;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (excluded.ids[middle] < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low < excluded.count && excluded.ids[low] == token;
}

INLINE float lowest_kept(const struct ranking *ranking) {
    return ranking->results < ranking->max_results ? -INFINITY
                                                   : ranking->scores[ranking->max_results - 1];
}

INLINE void insert(struct ranking *ranking, int64_t index, float score, float logprob) {
    const bool is_full = ranking->results == ranking->max_results;
    int64_t place = is_full ? ranking->max_results - 1 : ranking->results++;
    for (; place > 0 && score > ranking->scores[place - 1]; place--) {
        ranking->indices[place] = ranking->indices[place - 1];
        ranking->scores[place] = ranking->scores[place - 1];
        ranking->logprobs[place] = ranking->logprobs[place - 1];
    }
    ranking->indices[place] = index;
    ranking->scores[place] = score;
    ranking->logprobs[place] = logprob;
}

/* Whether any (value - total) + offset is above `enough`. */
INLINE bool has_higher(const float *values, int64_t count, float total, float offset,
                       float enough) {
    int32_t found = 0;
    if (count == LANES) /* a length that the compiler knows */
        for (int i = 0; i < LANES; i++) found |= (values[i] - total) + offset > enough;
    else
        for (int64_t i = 0; i < count; i++) found |= (values[i] - total) + offset > enough;
    return found != 0;
}

/* Ranks (value - total) + offset. The list is short and sorted, and few values get into it: most
 * blocks are left after one look. */
INLINE void rank_row(const float *row, int64_t n_vocab, int64_t first_index, float total,
                     float offset, struct excluded excluded, struct ranking *ranking) {
    for (int64_t start = 0; start < n_vocab; start += LANES) {
        const int64_t end = start + LANES < n_vocab ? start + LANES : n_vocab;
        float enough = lowest_kept(ranking);
        if (!has_higher(row + start, end - start, total, offset, enough)) continue;
        for (int64_t i = start; i < end; i++) {
            const float logprob = row[i] - total, score = logprob + offset;
            if (!(score > enough) || is_excluded(excluded, i)) continue;
            insert(ranking, first_index + i, score, logprob);
            enough = lowest_kept(ranking);
        }
    }
}

INLINE void best(const float *const *rows, int64_t row_count, int64_t n_vocab, const float *offsets,
                 struct excluded excluded, bool are_logits, struct ranking *ranking) {
    for (int64_t row = 0; row < row_count; row++) {
        const float total = are_logits ? (float)log_sum_exp(rows[row], n_vocab) : 0.0F;
        rank_row(rows[row], n_vocab, row * n_vocab, total, offsets[row], excluded, ranking);
    }
}

/* One copy for each instruction set, and one for all others. */
#define FOR_TARGET(name, target)                                                                 \
    target static double log_sum_exp_##name(const float *values, int64_t count) {                \
        return log_sum_exp(values, count);                                                       \
    }                                                                                            \
    target static bool are_finite_##name(const float *values, int64_t count) {                   \
        return are_finite(values, count);                                                        \
    }                                                                                            \
    target static int64_t find_highest_##name(const float *values, int64_t count) {              \
        return find_highest(values, count);                                                      \
    }                                                                                            \
    target static void best_##name(const float *const *rows, int64_t row_count, int64_t n_vocab, \
                                   const float *offsets, struct excluded excluded,               \
                                   bool are_logits, struct ranking *ranking) {                   \
        best(rows, row_count, n_vocab, offsets, excluded, are_logits, ranking);                  \
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

/* Whether no value is infinite or NaN. */
int32_t t5_are_finite(const float *values, int64_t count) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return are_finite_avx512(values, count);
    if (__builtin_cpu_supports("avx2")) return are_finite_avx2(values, count);
#endif
    return are_finite_plain(values, count);
}

/* Returns the index of the highest of `count` values, at least one: the first if several are equal.
 * None may be NaN. */
int64_t t5_find_highest(const float *values, int64_t count) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return find_highest_avx512(values, count);
    if (__builtin_cpu_supports("avx2")) return find_highest_avx2(values, count);
#endif
    return find_highest_plain(values, count);
}

/* Finds the `max_results` highest scores above -inf: their indices in all rows together, the
 * highest first, equal ones in order, and the values that the scores are made of.
 *
 * The score of a value is the value plus its row's offset. Where the rows are logits, the value is
 * first made a log-probability: the row's log_sum_exp is subtracted.
 *
 * Returns how many there are. No value may be NaN; `max_results` is at least 1; the excluded ids
 * are in ascending order. */
int64_t t5_rank(const float *const *rows, int64_t row_count, int64_t n_vocab, const float *offsets,
                const int64_t *excluded_ids, int64_t excluded_count, int32_t are_logits,
                int64_t max_results, int64_t *indices, float *scores, float *values) {
    const struct excluded excluded = {excluded_ids, excluded_count};
    struct ranking ranking = {max_results, 0, indices, scores, values};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        best_avx512(rows, row_count, n_vocab, offsets, excluded, are_logits != 0, &ranking);
        return ranking.results;
    }
    if (__builtin_cpu_supports("avx2")) {
        best_avx2(rows, row_count, n_vocab, offsets, excluded, are_logits != 0, &ranking);
        return ranking.results;
    }
#endif
    best_plain(rows, row_count, n_vocab, offsets, excluded, are_logits != 0, &ranking);
    return ranking.results;
}
