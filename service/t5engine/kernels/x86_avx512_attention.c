/* T5's attention as one operation, on x86 processors with AVX-512: softmax(q k + bias) v.
 *
 * As separate operations (products, softmax, weighted sum) each is so short that the threads spend
 * more time waiting for one another than computing. Here every thread computes whole heads.
 */
#if defined(__x86_64__)
#include "kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl")))
#define INLINE static inline __attribute__((always_inline)) TARGET
/* F32 values of a vector register; keys scored at once; values of d_kv summed at once. */
enum { LANES = 16, KEY_TILE = 4, VALUE_TILE = 4 * LANES };
enum { QUERIES_AT_ONCE = 4 };

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

/* scores[key] = q . k[key] + bias[key], of `count` queries. */
INLINE void compute_scores_of(int count, const struct attention *a, struct queries queries,
                              const float *k, float *scores) {
    for (int64_t key = 0; key < a->keys; key += KEY_TILE) {
        __m512 sum[QUERIES_AT_ONCE][KEY_TILE];
        for (int i = 0; i < count * KEY_TILE; i++)
            sum[i / KEY_TILE][i % KEY_TILE] = _mm512_setzero_ps();
        for (int64_t d = 0; d < a->d_kv; d += LANES) {
            __m512 keys[KEY_TILE];
            for (int i = 0; i < KEY_TILE; i++) {
                keys[i] = _mm512_loadu_ps(k + (key + i) * a->kv_stride + d);
            }
            for (int n = 0; n < count; n++) {
                const __m512 x = _mm512_loadu_ps(queries.q + n * queries.q_stride + d);
                for (int i = 0; i < KEY_TILE; i++)
                    sum[n][i] = _mm512_fmadd_ps(x, keys[i], sum[n][i]);
            }
        }
        for (int n = 0; n < count; n++) {
            const __m128 biases = _mm_loadu_ps(queries.bias + n * queries.bias_stride + key);
            const __mmask8 visible = _mm_cmp_ps_mask(biases, _mm_set1_ps(-INFINITY), _CMP_NEQ_UQ);
            const __m128 products = horizontal_sums(sum[n][0], sum[n][1], sum[n][2], sum[n][3]);
            _mm_storeu_ps(scores + n * SCORE_STRIDE + key,
                          _mm_mask_add_ps(biases, visible, products, biases));
        }
    }
}

/* The same; each number of queries is compiled for itself. */
INLINE void compute_scores(const struct attention *a, int64_t count, struct queries queries,
                           const float *k, float *scores) {
    switch (count) {
    case 4:
        compute_scores_of(4, a, queries, k, scores);
        break;
    case 2:
        compute_scores_of(2, a, queries, k, scores);
        break;
    default:
        compute_scores_of(1, a, queries, k, scores);
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

/* output = sum over the keys of weights[key] / weight_sum * v[key], of `count` queries. */
INLINE void weighted_sum_of(int count, const struct attention *a, const float *weights,
                            const float *weight_sum, const float *v, struct queries queries) {
    for (int64_t d = 0; d < a->d_kv; d += VALUE_TILE) {
        __m512 sum[QUERIES_AT_ONCE][4];
        for (int i = 0; i < 4 * count; i++) sum[i / 4][i % 4] = _mm512_setzero_ps();
        for (int64_t key = 0; key < a->keys; key++) {
            __m512 values[4];
            for (int i = 0; i < 4; i++) {
                values[i] = _mm512_loadu_ps(v + key * a->kv_stride + d + LANES * i);
            }
            for (int n = 0; n < count; n++) {
                const float weight = weights[n * SCORE_STRIDE + key];
                if (weight == 0) continue; /* a masked V may be NaN from another row's overflow */
                for (int i = 0; i < 4; i++) {
                    sum[n][i] = _mm512_fmadd_ps(_mm512_set1_ps(weight), values[i], sum[n][i]);
                }
            }
        }
        for (int n = 0; n < count; n++) {
            const __m512 scale = _mm512_set1_ps(1 / weight_sum[n]);
            for (int i = 0; i < 4; i++) {
                _mm512_storeu_ps(queries.output + n * queries.output_stride + d + LANES * i,
                                 _mm512_mul_ps(sum[n][i], scale));
            }
        }
    }
}

/* The same; each number of queries is compiled for itself. */
INLINE void weighted_sum(const struct attention *a, int64_t count, const float *weights,
                         const float *weight_sum, const float *v, struct queries queries) {
    switch (count) {
    case 4:
        weighted_sum_of(4, a, weights, weight_sum, v, queries);
        break;
    case 2:
        weighted_sum_of(2, a, weights, weight_sum, v, queries);
        break;
    default:
        weighted_sum_of(1, a, weights, weight_sum, v, queries);
    }
}

/* Many queries over the same keys, as an encoder has them: K is transposed and V copied once a
 * head, and each vector of them serves a tile of queries. Lines of the fused q, k and v are so far
 * apart that the first-level cache holds few of them. */
enum { QUERY_TILE = 4, MIN_TILED_QUERIES = 16, TILED_KEYS = 4 * LANES, MAX_PACKED = 64 * 512 };

/* scores[query][key] = q . k[key] + bias[key], of a tile of queries and `vectors` vectors of keys.
 * Rows of `transposed` (d_kv, padded keys) and `scores` are `stride` values apart. */
INLINE void score_tile(const struct attention *a, const float *q, const float *transposed,
                       const float *bias, int64_t key, int vectors, int64_t stride, float *scores) {
    __m512 sum[QUERY_TILE][4];
    for (int n = 0; n < QUERY_TILE; n++) {
        for (int v = 0; v < vectors; v++) sum[n][v] = _mm512_setzero_ps();
    }
    for (int64_t d = 0; d < a->d_kv; d++) {
        for (int v = 0; v < vectors; v++) {
            const __m512 k = _mm512_loadu_ps(transposed + d * stride + key + LANES * v);
            for (int n = 0; n < QUERY_TILE; n++) {
                sum[n][v] = _mm512_fmadd_ps(_mm512_set1_ps(q[n * a->q_stride + d]), k, sum[n][v]);
            }
        }
    }
    for (int v = 0; v < vectors; v++) {
        const int64_t first = key + LANES * v;
        const __mmask16 lanes = lane_mask(a->keys - first);
        for (int n = 0; n < QUERY_TILE; n++) {
            const __m512 biases = _mm512_maskz_loadu_ps(lanes, bias + n * a->keys + first);
            const __mmask16 visible =
                _mm512_cmp_ps_mask(biases, _mm512_set1_ps(-INFINITY), _CMP_NEQ_UQ);
            const __m512 score = _mm512_mask_add_ps(biases, visible, sum[n][v], biases);
            _mm512_storeu_ps(scores + n * stride + first, score);
        }
    }
}

/* output[query] = sum over the keys of weights[query][key] / weight_sum[query] * v[key], of a tile
 * of queries. `v` is contiguous and finite. */
INLINE void sum_tile(const struct attention *a, const float *weights, const float *weight_sum,
                     int64_t stride, const float *v, float *output) {
    const int64_t inner = a->heads * a->d_kv;
    for (int64_t d = 0; d < a->d_kv; d += VALUE_TILE) {
        __m512 sum[QUERY_TILE][4];
        for (int n = 0; n < QUERY_TILE; n++) {
            for (int i = 0; i < 4; i++) sum[n][i] = _mm512_setzero_ps();
        }
        for (int64_t key = 0; key < a->keys; key++) {
            __m512 values[4];
            for (int i = 0; i < 4; i++) {
                values[i] = _mm512_loadu_ps(v + key * a->d_kv + d + LANES * i);
            }
            for (int n = 0; n < QUERY_TILE; n++) {
                const __m512 weight = _mm512_set1_ps(weights[n * stride + key]);
                for (int i = 0; i < 4; i++) {
                    sum[n][i] = _mm512_fmadd_ps(weight, values[i], sum[n][i]);
                }
            }
        }
        for (int n = 0; n < QUERY_TILE; n++) {
            const __m512 scale = _mm512_set1_ps(1 / weight_sum[n]);
            for (int i = 0; i < 4; i++) {
                _mm512_storeu_ps(output + n * inner + d + LANES * i,
                                 _mm512_mul_ps(sum[n][i], scale));
            }
        }
    }
}

/* Transposes the K of a head, (keys, d_kv), into (d_kv, stride), with zeros after the keys, and
 * copies its V. A weight of 0 would not hide a NaN: V is 0 where the key is masked from all
 * queries. Returns whether V is finite elsewhere. */
INLINE int copy_head(const struct attention *a, const float *k, const float *v, const float *bias,
                     int64_t stride, float *transposed, float *copied) {
    for (int64_t key = 0; key < stride; key += 4) {
        for (int64_t d = 0; d < a->d_kv; d += 4) {
            __m128 row[4];
            for (int i = 0; i < 4; i++) {
                const float *k_row = k + (key + i) * a->kv_stride + d;
                row[i] = key < a->keys ? _mm_loadu_ps(k_row) : _mm_setzero_ps();
            }
            _MM_TRANSPOSE4_PS(row[0], row[1], row[2], row[3]);
            for (int i = 0; i < 4; i++) _mm_storeu_ps(transposed + (d + i) * stride + key, row[i]);
        }
    }
    for (int64_t key = 0; key < a->keys; key++) {
        __m512 zeros = _mm512_setzero_ps(); /* x * 0 is NaN unless x is finite */
        for (int64_t d = 0; d < a->d_kv; d += LANES) {
            const __m512 values = _mm512_loadu_ps(v + key * a->kv_stride + d);
            zeros = _mm512_fmadd_ps(values, _mm512_setzero_ps(), zeros);
            _mm512_storeu_ps(copied + key * a->d_kv + d, values);
        }
        if (_mm512_cmp_ps_mask(zeros, zeros, _CMP_UNORD_Q) == 0) continue;
        for (int64_t query = 0; query < a->queries; query++) {
            if (bias[query * a->keys + key] != -INFINITY) return 0;
        }
        memset(copied + key * a->d_kv, 0, (size_t)a->d_kv * sizeof *copied);
    }
    return 1;
}

/* Attends with all queries of a head that fill tiles; returns how many. 0 if there are few queries,
 * or if a V that some of them see is not finite. */
TARGET static int64_t attend_tiles(const struct attention *a, const float *q, const float *k,
                                   const float *v, const float *bias, float *output) {
    static _Thread_local float transposed[MAX_PACKED], copied[MAX_PACKED];
    static _Thread_local float scores[QUERY_TILE * MAX_PACKED / VALUE_TILE];
    const int64_t stride = (a->keys + LANES - 1) / LANES * LANES;
    if (a->queries < MIN_TILED_QUERIES || stride * a->d_kv > MAX_PACKED) return 0;
    if (!copy_head(a, k, v, bias, stride, transposed, copied)) return 0;
    const int64_t tiled = a->queries / QUERY_TILE * QUERY_TILE, inner = a->heads * a->d_kv;
    for (int64_t query = 0; query < tiled; query += QUERY_TILE) {
        const float *q_tile = q + query * a->q_stride, *biases = bias + query * a->keys;
        int64_t key = 0;
        for (; key + TILED_KEYS <= stride; key += TILED_KEYS) {
            score_tile(a, q_tile, transposed, biases, key, 4, stride, scores);
        }
        for (; key < stride; key += LANES) {
            score_tile(a, q_tile, transposed, biases, key, 1, stride, scores);
        }
        float sums[QUERY_TILE];
        for (int n = 0; n < QUERY_TILE; n++) {
            sums[n] = exponentiate(scores + n * stride, a->keys);
        }
        sum_tile(a, scores, sums, stride, copied, output + query * inner);
    }
    return tiled;
}

#define ATTEND x86_avx512_attend
#include "attend.h"
#endif
