/* T5's attention as one operation, on x86 processors with AVX2 and FMA: softmax(q k + bias) v.
 *
 * As in the AVX-512 kernel every thread computes whole heads.
 */
#if defined(__x86_64__)
#include "kernels.h"

#include <immintrin.h>
#include <math.h>

#define TARGET __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define UNROLL _Pragma("GCC unroll 8")
/* F32 values of a vector register; keys scored at once; values of d_kv summed at once. */
enum { LANES = 8, KEY_TILE = 4, VALUE_TILE = 8 * LANES };
enum { QUERIES_AT_ONCE = 1 };

int x86_avx2_can_attend(int64_t d_kv, int64_t keys) {
    return d_kv > 0 && d_kv % VALUE_TILE == 0 && keys > 0 && keys % KEY_TILE == 0 &&
           keys <= MAX_KEYS;
}

/* (sum(a), sum(b), sum(c), sum(d)) */
INLINE __m128 horizontal_sums(__m256 a, __m256 b, __m256 c, __m256 d) {
    const __m256 abcd = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1));
}

INLINE float reduce_add(__m256 eight) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

INLINE float reduce_max(__m256 eight) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* e^x for x <= 0, within two units in the last place; 0 below -87, NaN for NaN.
 * With x = n log 2 + r: 2^n times the Taylor series of e^r, |r| <= log(2) / 2. */
INLINE __m256 exp_ps(__m256 x) {
    const __m256 smallest = _mm256_set1_ps(-87);
    const __m256 is_zero = _mm256_cmp_ps(x, smallest, _CMP_LT_OQ);
    x = _mm256_max_ps(smallest, x); /* this operand order keeps NaN */
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x); /* log 2 in two parts */
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 sum = _mm256_set1_ps(1.0f / 5040);
    sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1.0f / 720));
    sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1.0f / 120));
    sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1.0f / 24));
    sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1.0f / 6));
    sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(0.5f));
    sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1));
    sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1));
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    const __m256 power = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)); /* 2^n */
    return _mm256_andnot_ps(is_zero, _mm256_mul_ps(sum, power));
}

/* scores[key] = q . k[key] + bias[key], of one query. */
INLINE void compute_scores(const struct attention *a, int64_t count, struct queries queries,
                           const float *k, float *scores) {
    (void)count;
    for (int64_t key = 0; key < a->keys; key += KEY_TILE) {
        __m256 sum[KEY_TILE];
        UNROLL for (int i = 0; i < KEY_TILE; i++) sum[i] = _mm256_setzero_ps();
        for (int64_t d = 0; d < a->d_kv; d += LANES) {
            const __m256 x = _mm256_loadu_ps(queries.q + d);
            UNROLL for (int i = 0; i < KEY_TILE; i++) {
                const float *k_row = k + (key + i) * a->kv_stride + d;
                sum[i] = _mm256_fmadd_ps(x, _mm256_loadu_ps(k_row), sum[i]);
            }
        }
        const __m128 biases = _mm_loadu_ps(queries.bias + key);
        const __m128 visible = _mm_cmp_ps(biases, _mm_set1_ps(-INFINITY), _CMP_NEQ_UQ);
        const __m128 products = horizontal_sums(sum[0], sum[1], sum[2], sum[3]);
        const __m128 visible_scores = _mm_add_ps(products, biases);
        _mm_storeu_ps(scores + key, _mm_blendv_ps(biases, visible_scores, visible));
    }
}

/* scores[key] = exp(scores[key] - max(scores)). Returns the sum, by which softmax divides.
 * Writes up to LANES - 1 scores behind the last one. */
INLINE float exponentiate(float *scores, int64_t keys) {
    for (int64_t key = keys; key % LANES; key++) scores[key] = -INFINITY;
    __m256 max = _mm256_set1_ps(-INFINITY), sum = _mm256_setzero_ps();
    for (int64_t key = 0; key < keys; key += LANES) {
        max = _mm256_max_ps(max, _mm256_loadu_ps(scores + key));
    }
    const __m256 max_score = _mm256_set1_ps(reduce_max(max));
    for (int64_t key = 0; key < keys; key += LANES) {
        const __m256 exp = exp_ps(_mm256_sub_ps(_mm256_loadu_ps(scores + key), max_score));
        sum = _mm256_add_ps(sum, exp);
        _mm256_storeu_ps(scores + key, exp);
    }
    return reduce_add(sum);
}

/* output = sum over the keys of weights[key] / weight_sum * v[key], of one query. */
INLINE void weighted_sum(const struct attention *a, int64_t count, const float *weights,
                         const float *weight_sum, const float *v, struct queries queries) {
    (void)count;
    const __m256 scale = _mm256_set1_ps(1 / weight_sum[0]);
    for (int64_t d = 0; d < a->d_kv; d += VALUE_TILE) {
        __m256 sum[8];
        UNROLL for (int i = 0; i < 8; i++) sum[i] = _mm256_setzero_ps();
        for (int64_t key = 0; key < a->keys; key++) {
            if (weights[key] == 0) continue; /* a masked V may be NaN from another row's overflow */
            const __m256 weight = _mm256_set1_ps(weights[key]);
            UNROLL for (int i = 0; i < 8; i++) {
                const float *v_row = v + key * a->kv_stride + d + LANES * i;
                sum[i] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(v_row), sum[i]);
            }
        }
        UNROLL for (int i = 0; i < 8; i++) {
            _mm256_storeu_ps(queries.output + d + LANES * i, _mm256_mul_ps(sum[i], scale));
        }
    }
}

/* Every query is computed by itself. */
static inline int64_t attend_tiles(const struct attention *a, const float *q, const float *k,
                                   const float *v, const float *bias, float *output) {
    (void)a, (void)q, (void)k, (void)v, (void)bias, (void)output;
    return 0;
}

#define ATTEND x86_avx2_attend
#include "attend.h"
#endif
