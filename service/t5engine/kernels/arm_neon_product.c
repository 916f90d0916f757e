/* Matrix products on 64-bit ARM processors with NEON and dot products: Apple's since
 * the A13 and M1, Cortex since the A76.
 *
 * The instruction that multiplies bytes takes four values of four matrix rows and a word of four
 * values of an input row, by its lane. Both operands are signed: packing's offset of Q8_0 is taken
 * back, Q4_0's remains and is corrected by the inputs' sum as on x86.
 */
#if defined(__aarch64__)
#include "kernels.h"

#include <arm_neon.h>
#include <math.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__APPLE__)
#define TARGET /* every Apple processor with macOS has dot products */
#else
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define INLINE static inline __attribute__((always_inline)) TARGET
#define UNROLL _Pragma("GCC unroll 16")
enum { LANES = 4, QUARTERS = GROUP / LANES }; /* values of a register; registers of a group */
enum { MAX_TILE = 4, F16_TILE = 4 };          /* input rows multiplied at once */
enum { BUFFER_SIZE = 4 * MAX_COLUMNS };       /* values quantised at once */

static int is_supported(void) {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0; /* HWCAP_ASIMDDP */
#else
    return 1;
#endif
}

/* Input rows in blocks of 32. offset_sum is what the product has too much, or 0. */
struct quantised {
    int8_t values[BUFFER_SIZE];
    float scales[BUFFER_SIZE / BLOCK];
    int32_t offset_sum[BUFFER_SIZE / BLOCK];
};

/* Returns an input row after norm and ReLU: the input itself if there is neither, else `buffer`. */
TARGET static const float *transform_input(const struct product *p, int64_t input_row,
                                           float *buffer) {
    const int64_t columns = p->matrix->columns;
    const float *input = p->input + input_row * columns;
    if (!p->norm && !p->relu) return input;
    float scale = 1;
    if (p->norm) {
        float32x4_t squares = vdupq_n_f32(0);
        for (int64_t i = 0; i < columns; i += LANES) {
            const float32x4_t x = vld1q_f32(input + i);
            squares = vfmaq_f32(squares, x, x);
        }
        scale = 1 / sqrtf(vaddvq_f32(squares) / (float)columns + p->epsilon);
    }
    for (int64_t i = 0; i < columns; i += LANES) {
        float32x4_t x = vld1q_f32(input + i);
        if (p->norm) x = vmulq_f32(vmulq_n_f32(x, scale), vld1q_f32(p->norm + i));
        if (p->relu) x = vmaxq_f32(vdupq_n_f32(0), x); /* keeps NaN */
        vst1q_f32(buffer + i, x);
    }
    return buffer;
}

/* Quantises the n-th input row into its `blocks` blocks of q. */
INLINE void quantise(int bits, const float *input, int64_t blocks, int zero_point, int64_t n,
                     int64_t count, struct quantised *q) {
    (void)count;
    const int64_t first_block = n * blocks;
    const int offset = bits == 4 ? zero_point : 0;
    for (int64_t block = 0; block < blocks; block++) {
        float32x4_t x[BLOCK / LANES], max = vdupq_n_f32(0);
        UNROLL for (int i = 0; i < BLOCK / LANES; i++) {
            x[i] = vld1q_f32(input + BLOCK * block + LANES * i);
            max = vmaxq_f32(max, vabsq_f32(x[i])); /* keeps NaN */
        }
        const float max_abs = vmaxvq_f32(max);
        const float inverse = max_abs > 0 ? 127 / max_abs : 0;
        int8_t *values = q->values + BLOCK * (first_block + block);
        int32x4_t sum = vdupq_n_s32(0);
        UNROLL for (int i = 0; i < BLOCK / LANES; i += 2) {
            const int32x4_t a = vcvtnq_s32_f32(vmulq_n_f32(x[i], inverse));
            const int32x4_t b = vcvtnq_s32_f32(vmulq_n_f32(x[i + 1], inverse));
            sum = vaddq_s32(sum, vaddq_s32(a, b));
            const int16x8_t eight = vcombine_s16(vqmovn_s32(a), vqmovn_s32(b));
            vst1_s8(values + LANES * i, vqmovn_s16(eight));
        }
        q->scales[first_block + block] = max_abs / 127;
        q->offset_sum[first_block + block] =
            (int32_t)(0u - (uint32_t)offset * (uint32_t)vaddvq_s32(sum));
    }
}

/* Adds the products of four values of 16 matrix rows and of an input row: x's word `lane`. */
#define ADD_PRODUCTS(dot, w, x, lane)                             \
    UNROLL for (int part = 0; part < QUARTERS; part++) {          \
        dot[part] = vdotq_laneq_s32(dot[part], w[part], x, lane); \
    }

/* Multiplies a group's 16 matrix rows by `count` input rows, from the row `first` of q on. */
INLINE void multiply_group(int bits, const uint8_t *group, int64_t blocks,
                           const struct quantised *q, int64_t first, int count,
                           struct output_tile tile) {
    float32x4_t sum[MAX_TILE][QUARTERS];
    for (int n = 0; n < count; n++) {
        UNROLL for (int part = 0; part < QUARTERS; part++) sum[n][part] = vdupq_n_f32(0);
    }
    for (int64_t block = 0; block < blocks; block++) {
        const uint8_t *weights = group + block * block_bytes(bits);
        const uint8_t *scales = weights + bits * VECTOR_BYTES;
        const int64_t input_block = first * blocks + block; /* the next input row's: + blocks */
        int32x4_t dot[MAX_TILE][QUARTERS];
        int8x16_t x[MAX_TILE][2];
        UNROLL for (int n = 0; n < count; n++) {
            const int64_t i = input_block + n * blocks;
            x[n][0] = vld1q_s8(q->values + BLOCK * i);
            x[n][1] = vld1q_s8(q->values + BLOCK * i + BLOCK / 2);
            UNROLL for (int part = 0; part < QUARTERS; part++) {
                dot[n][part] = vdupq_n_s32(q->offset_sum[i]);
            }
        }
#define ADD_VECTOR(i)                                                                     \
    {                                                                                     \
        int8x16_t w[QUARTERS], high[QUARTERS];                                            \
        UNROLL for (int part = 0; part < QUARTERS; part++) {                              \
            const uint8x16_t packed = vld1q_u8(weights + VECTOR_BYTES * (i) + 16 * part); \
            high[part] = vreinterpretq_s8_u8(vshrq_n_u8(packed, 4));                      \
            w[part] = vreinterpretq_s8_u8(bits == 4 ? vandq_u8(packed, vdupq_n_u8(15))    \
                                                    : veorq_u8(packed, vdupq_n_u8(128))); \
        }                                                                                 \
        UNROLL for (int n = 0; n < count; n++) {                                          \
            ADD_PRODUCTS(dot[n], w, x[n][(i) / 4], (i) % 4)                               \
            if (bits == 4) ADD_PRODUCTS(dot[n], high, x[n][1], (i) % 4)                   \
        }                                                                                 \
    }
        ADD_VECTOR(0)
        ADD_VECTOR(1)
        ADD_VECTOR(2)
        ADD_VECTOR(3)
        if (bits == 8) {
            ADD_VECTOR(4)
            ADD_VECTOR(5)
            ADD_VECTOR(6)
            ADD_VECTOR(7)
        }
#undef ADD_VECTOR
        UNROLL for (int part = 0; part < QUARTERS; part++) {
            const uint8_t *f16 = scales + 2 * LANES * part;
            const float32x4_t weight_scale = vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(f16)));
            UNROLL for (int n = 0; n < count; n++) {
                const float input_scale = q->scales[input_block + n * blocks];
                const float32x4_t scale = vmulq_n_f32(weight_scale, input_scale);
                sum[n][part] = vfmaq_f32(sum[n][part], vcvtq_f32_s32(dot[n][part]), scale);
            }
        }
    }
    for (int n = 0; n < count; n++) {
        for (int part = 0; part < QUARTERS; part++) {
            const int64_t offset = n * tile.stride + LANES * part;
            float32x4_t result = sum[n][part];
            if (tile.residual) result = vaddq_f32(result, vld1q_f32(tile.residual + offset));
            vst1q_f32(tile.output + offset, result);
        }
    }
}

/* Multiplies a group by the largest tile that `remaining` input rows fill. Returns its size. */
INLINE int multiply_tile(int bits, const uint8_t *group, int64_t blocks, const struct quantised *q,
                         int64_t first, int64_t remaining, struct output_tile tile) {
    const int is_full = remaining >= MAX_TILE;
    if (is_full)
        multiply_group(bits, group, blocks, q, first, MAX_TILE, tile);
    else
        multiply_group(bits, group, blocks, q, first, 1, tile);
    return is_full ? MAX_TILE : 1;
}

/* Multiplies four matrix rows of F16 by `count` input rows. */
INLINE void multiply_four_rows(const uint8_t *weights, int64_t columns, const float *const *input,
                               int count, struct output_tile tile) {
    float32x4_t sum[4][F16_TILE];
    UNROLL for (int i = 0; i < 4 * count; i++) sum[i % 4][i / 4] = vdupq_n_f32(0);
    for (int64_t i = 0; i < columns; i += LANES) {
        UNROLL for (int r = 0; r < 4; r++) {
            const uint8_t *f16 = weights + 2 * (r * columns + i);
            const float32x4_t w = vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(f16)));
            UNROLL for (int n = 0; n < count; n++) {
                sum[r][n] = vfmaq_f32(sum[r][n], w, vld1q_f32(input[n] + i));
            }
        }
    }
    for (int n = 0; n < count; n++) {
        for (int r = 0; r < 4; r++) {
            const int64_t offset = n * tile.stride + r;
            const float residual = tile.residual ? tile.residual[offset] : 0;
            tile.output[offset] = vaddvq_f32(sum[r][n]) + residual;
        }
    }
}

#include "multiply.h"

const struct kernels arm_neon_kernels = {
    .name = "neon",
    .is_supported = is_supported,
    .can_multiply = is_divisible,
    .can_attend = arm_neon_can_attend,
    .multiply = multiply,
    .attend = arm_neon_attend,
};
#endif
