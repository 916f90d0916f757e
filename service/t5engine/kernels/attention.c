/* T5's attention in one go, on x86 processors with AVX-512: softmax(q k + bias) v.
 *
 * As single operations (products, softmax, a weighted sum) each is so short that threads spend
 * more time waiting for one another than on it. Here every thread takes whole heads.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

enum { WIDTH = 16, FOUR = 4, CHUNK = 4 * WIDTH, MOST_KEYS = 4096 }; /* in values of F32 */

/* All F32; distances are in values. Heads stand side by side in a line of q, k, v and output.
 *
 * bias of a query and a key: bias[row * bias_row + head * bias_head + query * keys + key]; with
 * -inf the key is not looked at, whatever stands there. output: (rows, queries, heads, d_kv). */
struct attention {
    const float *q, *k, *v, *bias;
    float *output;
    int64_t d_kv, heads, queries, keys, rows;
    int64_t q_line, kv_line, kv_row; /* from query to query, key to key, row to row */
    int64_t bias_head, bias_row;
};

int t5_can_attend(int64_t d_kv, int64_t keys);
void t5_attend(void *tensor, int thread, int threads, void *attention);

#if defined(__x86_64__)
#include <immintrin.h>
#define VECTORS __attribute__((target("avx512f,avx512dq,avx512vl")))
#define INLINE static inline __attribute__((always_inline)) VECTORS

int t5_can_attend(int64_t d_kv, int64_t keys) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && d_kv > 0 && d_kv % CHUNK == 0 && keys > 0 &&
           keys % FOUR == 0 && keys <= MOST_KEYS;
}

/* Four vectors' sums. */
INLINE __m128 sum_each(__m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const __m512 low = _mm512_shuffle_ps(ab, cd, 0x44), high = _mm512_shuffle_ps(ab, cd, 0xEE);
    const __m512 each = _mm512_add_ps(low, high);
    const __m256 half =
        _mm256_add_ps(_mm512_castps512_ps256(each), _mm512_extractf32x8_ps(each, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* e to the x for x <= 0, within two units in the last place; 0 below -110, NaN of NaN.
 * With x = n log 2 + r: 2^n times the Taylor series of e^r, |r| <= log(2) / 2. */
INLINE __m512 power(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-110), x); /* in this order NaN stays */
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

/* scores = q k + bias. */
INLINE void score(const struct attention *a, const float *q, const float *k, const float *bias,
                  float *scores) {
    for (int64_t key = 0; key < a->keys; key += FOUR) {
        __m512 sum[FOUR];
        for (int i = 0; i < FOUR; i++) sum[i] = _mm512_setzero_ps();
        for (int64_t at = 0; at < a->d_kv; at += WIDTH) {
            const __m512 x = _mm512_loadu_ps(q + at);
            for (int i = 0; i < FOUR; i++) {
                const float *one = k + (key + i) * a->kv_line + at;
                sum[i] = _mm512_fmadd_ps(x, _mm512_loadu_ps(one), sum[i]);
            }
        }
        const __m128 added = _mm_loadu_ps(bias + key);
        const __mmask8 seen = _mm_cmp_ps_mask(added, _mm_set1_ps(-INFINITY), _CMP_NEQ_UQ);
        const __m128 product = sum_each(sum[0], sum[1], sum[2], sum[3]);
        _mm_storeu_ps(scores + key, _mm_mask_add_ps(added, seen, product, added));
    }
}

/* Which of a vector's values are there, when so many are left. */
INLINE __mmask16 first_of(int64_t left) {
    return _cvtu32_mask16(left < WIDTH ? (1u << left) - 1 : 65535);
}

/* Makes of scores their exponentials, to be divided by the sum, which is returned. */
INLINE float exponentiate(float *scores, int64_t keys) {
    __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int64_t key = 0; key < keys; key += WIDTH) {
        const __mmask16 part = first_of(keys - key);
        top = _mm512_mask_max_ps(top, part, top, _mm512_maskz_loadu_ps(part, scores + key));
    }
    const __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(top));
    for (int64_t key = 0; key < keys; key += WIDTH) {
        const __mmask16 part = first_of(keys - key);
        const __m512 x = _mm512_maskz_loadu_ps(part, scores + key);
        const __m512 share = _mm512_maskz_mov_ps(part, power(_mm512_sub_ps(x, largest)));
        sum = _mm512_add_ps(sum, share);
        _mm512_mask_storeu_ps(scores + key, part, share);
    }
    return _mm512_reduce_add_ps(sum);
}

/* output = the sum of the values by their shares. */
INLINE void mix(const struct attention *a, const float *shares, float sum, const float *v,
                float *output) {
    const __m512 whole = _mm512_set1_ps(1 / sum);
    for (int64_t at = 0; at < a->d_kv; at += CHUNK) {
        __m512 mixed[4];
        for (int i = 0; i < 4; i++) mixed[i] = _mm512_setzero_ps();
        for (int64_t key = 0; key < a->keys; key++) {
            if (shares[key] == 0) continue; /* its value may be what another's overflow left */
            const __m512 share = _mm512_set1_ps(shares[key]);
            for (int i = 0; i < 4; i++) {
                const float *one = v + key * a->kv_line + at + WIDTH * i;
                mixed[i] = _mm512_fmadd_ps(share, _mm512_loadu_ps(one), mixed[i]);
            }
        }
        for (int i = 0; i < 4; i++) {
            _mm512_storeu_ps(output + at + WIDTH * i, _mm512_mul_ps(mixed[i], whole));
        }
    }
}

/* A ggml_custom_op_t: each thread takes a share of the heads of all rows. */
VECTORS void t5_attend(void *tensor, int thread, int threads, void *attention) {
    (void)tensor;
    static __thread float scores[MOST_KEYS];
    const struct attention *a = attention;
    const int64_t parts = a->rows * a->heads, inner = a->heads * a->d_kv;
    for (int64_t part = parts * thread / threads; part < parts * (thread + 1) / threads; part++) {
        const int64_t row = part / a->heads, head = part % a->heads;
        const int64_t kv = row * a->kv_row + head * a->d_kv;
        const float *bias = a->bias + row * a->bias_row + head * a->bias_head;
        for (int64_t query = 0; query < a->queries; query++) {
            const int64_t place = row * a->queries + query;
            const float *q = a->q + place * a->q_line + head * a->d_kv;
            score(a, q, a->k + kv, bias + query * a->keys, scores);
            const float sum = exponentiate(scores, a->keys);
            mix(a, scores, sum, a->v + kv, a->output + place * inner + head * a->d_kv);
        }
    }
}
#else
int t5_can_attend(int64_t d_kv, int64_t keys) {
    (void)d_kv, (void)keys;
    return 0;
}

void t5_attend(void *tensor, int thread, int threads, void *attention) {
    (void)tensor, (void)thread, (void)threads, (void)attention;
}
#endif
