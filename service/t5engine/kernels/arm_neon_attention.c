/* T5's attention as one operation, on 64-bit ARM processors: softmax(q k + bias) v.
 *
 * As in the kernels for x86 every thread computes whole heads.
 */
#if defined(__aarch64__)
#include "kernels.h"

#include <arm_neon.h>
#include <math.h>

#define TARGET /* the base architecture */
#define UNROLL _Pragma("GCC unroll 16")
/* F32 values of a vector register; keys scored at once; values of d_kv summed at once. */
enum { LANES = 4, KEY_TILE = 4, VALUE_TILE = 16 * LANES };
enum { QUERIES_AT_ONCE = 1 };

int arm_neon_can_attend(int64_t d_kv, int64_t keys) {
    return d_kv > 0 && d_kv % VALUE_TILE == 0 && keys > 0 && keys % KEY_TILE == 0 &&
           keys <= MAX_KEYS;
}

/* e^x for x <= 0, within two units in the last place; 0 below -87, NaN for NaN.
 * With x = n log 2 + r: 2^n times the Taylor series of e^r, |r| <= log(2) / 2. */
static inline float32x4_t exp_f32(float32x4_t x) {
    const float32x4_t smallest = vdupq_n_f32(-87);
    const uint32x4_t is_zero = vcltq_f32(x, smallest);
    x = vmaxq_f32(smallest, x); /* keeps NaN */
    const float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 1.44269504f));
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0.693359375f)); /* log 2 in two parts */
    r = vfmsq_f32(r, n, vdupq_n_f32(-2.12194440e-4f));
    const float coefficients[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
    float32x4_t sum = vdupq_n_f32(1.0f / 5040);
    UNROLL for (int i = 0; i < 7; i++) sum = vfmaq_f32(vdupq_n_f32(coefficients[i]), sum, r);
    const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    const float32x4_t power = vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)); /* 2^n */
    return vbslq_f32(is_zero, vdupq_n_f32(0), vmulq_f32(sum, power));
}

/* scores[key] = q . k[key] + bias[key], of one query. */
static inline void compute_scores(const struct attention *a, int64_t count, struct queries queries,
                                  const float *k, float *scores) {
    (void)count;
    for (int64_t key = 0; key < a->keys; key += KEY_TILE) {
        float32x4_t sum[KEY_TILE];
        UNROLL for (int i = 0; i < KEY_TILE; i++) sum[i] = vdupq_n_f32(0);
        for (int64_t d = 0; d < a->d_kv; d += LANES) {
            const float32x4_t x = vld1q_f32(queries.q + d);
            UNROLL for (int i = 0; i < KEY_TILE; i++) {
                sum[i] = vfmaq_f32(sum[i], x, vld1q_f32(k + (key + i) * a->kv_stride + d));
            }
        }
        const float32x4_t biases = vld1q_f32(queries.bias + key);
        const uint32x4_t masked = vceqq_f32(biases, vdupq_n_f32(-INFINITY));
        const float32x4_t products =
            vpaddq_f32(vpaddq_f32(sum[0], sum[1]), vpaddq_f32(sum[2], sum[3]));
        vst1q_f32(scores + key, vbslq_f32(masked, biases, vaddq_f32(products, biases)));
    }
}

/* scores[key] = exp(scores[key] - max(scores)). Returns the sum, by which softmax divides. */
static inline float exponentiate(float *scores, int64_t keys) {
    float32x4_t max = vdupq_n_f32(-INFINITY), sum = vdupq_n_f32(0);
    for (int64_t key = 0; key < keys; key += LANES) max = vmaxq_f32(max, vld1q_f32(scores + key));
    const float32x4_t max_score = vdupq_n_f32(vmaxvq_f32(max));
    for (int64_t key = 0; key < keys; key += LANES) {
        const float32x4_t exp = exp_f32(vsubq_f32(vld1q_f32(scores + key), max_score));
        sum = vaddq_f32(sum, exp);
        vst1q_f32(scores + key, exp);
    }
    return vaddvq_f32(sum);
}

/* output = sum over the keys of weights[key] / weight_sum * v[key], of one query. */
static inline void weighted_sum(const struct attention *a, int64_t count, const float *weights,
                                const float *weight_sum, const float *v, struct queries queries) {
    (void)count;
    for (int64_t d = 0; d < a->d_kv; d += VALUE_TILE) {
        float32x4_t sum[16];
        UNROLL for (int i = 0; i < 16; i++) sum[i] = vdupq_n_f32(0);
        for (int64_t key = 0; key < a->keys; key++) {
            if (weights[key] == 0) continue; /* a masked V may be NaN from another row's overflow */
            const float *v_row = v + key * a->kv_stride + d;
            UNROLL for (int i = 0; i < 16; i++) {
                sum[i] = vfmaq_n_f32(sum[i], vld1q_f32(v_row + LANES * i), weights[key]);
            }
        }
        UNROLL for (int i = 0; i < 16; i++) {
            vst1q_f32(queries.output + d + LANES * i, vmulq_n_f32(sum[i], 1 / weight_sum[0]));
        }
    }
}

/* Every query is computed by itself. */
static inline int64_t attend_tiles(const struct attention *a, const float *q, const float *k,
                                   const float *v, const float *bias, float *output) {
    (void)a, (void)q, (void)k, (void)v, (void)bias, (void)output;
    return 0;
}

#define ATTEND arm_neon_attend
#include "attend.h"
#endif
