/* T5's attention as one operation, on x86 processors with AVX-512: softmax(q k + bias) v.
 *
 * As separate operations (products, softmax, weighted sum) each is so short that the threads spend
 * more time waiting for one another than computing. Here every thread computes whole heads.
 */
#if defined(__x86_64__)
#include "kernels.h"

#include <immintrin.h>
#include <math.h>

#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl")))
#define INLINE static inline __attribute__((always_inline)) TARGET
/* F32 values of a vector register; keys scored at once; values of d_kv summed at once. */
enum { LANES = 16, KEY_TILE = 4, VALUE_TILE = 4 * LANES };

int x86_avx512_can_attend(int64_t d_kv, int64_t keys) {
    return d_kv > 0 && d_kv % VALUE_TILE == 0 && keys > 0 && keys % KEY_TILE == 0 &&
           keys <= MAX_KEYS;
}

/* (sum(a), sum(b), sum(c), sum(d)) */
INLINE __m128 horizontal_sums(__m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const __m512 low = _mm512_shuffle_ps(ab, cd, 0x44), high = _mm512_shuffle_ps(ab, cd, 0xEE);
    const __m512 abcd = _mm512_add_ps(low, high);
    const __m256 half =
        _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* e^x for x <= 0, within two units in the last place; 0 below -110, NaN for NaN.
 * With x = n log 2 + r: 2^n times the Taylor series of e^r, |r| <= log(2) / 2. */
INLINE __m512 exp_ps(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-110), x); /* this operand order keeps NaN */
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x); /* log 2 in two parts */
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 sum = _mm512_set1_ps(1.0f / 5040);
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 720));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 120));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 24));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 6));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(0.5f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1));
    return _mm512_scalef_ps(sum, n);
}

/* scores[key] = q . k[key] + bias[key] */
INLINE void compute_scores(const struct attention *a, const float *q, const float *k,
                           const float *bias, float *scores) {
    for (int64_t key = 0; key < a->keys; key += KEY_TILE) {
        __m512 sum[KEY_TILE];
        for (int i = 0; i < KEY_TILE; i++) sum[i] = _mm512_setzero_ps();
        for (int64_t d = 0; d < a->d_kv; d += LANES) {
            const __m512 x = _mm512_loadu_ps(q + d);
            for (int i = 0; i < KEY_TILE; i++) {
                const float *k_row = k + (key + i) * a->kv_stride + d;
                sum[i] = _mm512_fmadd_ps(x, _mm512_loadu_ps(k_row), sum[i]);
            }
        }
        const __m128 biases = _mm_loadu_ps(bias + key);
        const __mmask8 visible = _mm_cmp_ps_mask(biases, _mm_set1_ps(-INFINITY), _CMP_NEQ_UQ);
        const __m128 products = horizontal_sums(sum[0], sum[1], sum[2], sum[3]);
        _mm_storeu_ps(scores + key, _mm_mask_add_ps(biases, visible, products, biases));
    }
}

/* The lanes of a vector that hold a value when `remaining` values follow. */
INLINE __mmask16 lane_mask(int64_t remaining) {
    return _cvtu32_mask16(remaining < LANES ? (1u << remaining) - 1 : 65535);
}

/* scores[key] = exp(scores[key] - max(scores)). Returns the sum, by which softmax divides. */
INLINE float exponentiate(float *scores, int64_t keys) {
    __m512 max = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int64_t key = 0; key < keys; key += LANES) {
        const __mmask16 mask = lane_mask(keys - key);
        max = _mm512_mask_max_ps(max, mask, max, _mm512_maskz_loadu_ps(mask, scores + key));
    }
    const __m512 max_score = _mm512_set1_ps(_mm512_reduce_max_ps(max));
    for (int64_t key = 0; key < keys; key += LANES) {
        const __mmask16 mask = lane_mask(keys - key);
        const __m512 x = _mm512_maskz_loadu_ps(mask, scores + key);
        const __m512 exp = _mm512_maskz_mov_ps(mask, exp_ps(_mm512_sub_ps(x, max_score)));
        sum = _mm512_add_ps(sum, exp);
        _mm512_mask_storeu_ps(scores + key, mask, exp);
    }
    return _mm512_reduce_add_ps(sum);
}

/* output = sum over the keys of weights[key] / weight_sum * v[key] */
INLINE void weighted_sum(const struct attention *a, const float *weights, float weight_sum,
                         const float *v, float *output) {
    const __m512 scale = _mm512_set1_ps(1 / weight_sum);
    for (int64_t d = 0; d < a->d_kv; d += VALUE_TILE) {
        __m512 sum[4];
        for (int i = 0; i < 4; i++) sum[i] = _mm512_setzero_ps();
        for (int64_t key = 0; key < a->keys; key++) {
            if (weights[key] == 0) continue; /* a masked V may be NaN from another row's overflow */
            const __m512 weight = _mm512_set1_ps(weights[key]);
            for (int i = 0; i < 4; i++) {
                const float *v_row = v + key * a->kv_stride + d + LANES * i;
                sum[i] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(v_row), sum[i]);
            }
        }
        for (int i = 0; i < 4; i++) {
            _mm512_storeu_ps(output + d + LANES * i, _mm512_mul_ps(sum[i], scale));
        }
    }
}

#define ATTEND x86_avx512_attend
#include "attend.h"
#endif
