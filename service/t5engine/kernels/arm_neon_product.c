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
#define NEON /* every Apple processor with macOS has dot products */
#else
#define NEON __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define INLINE static inline __attribute__((always_inline)) NEON
#define UNROLL _Pragma("GCC unroll 16")
enum { LANES = 4, QUARTERS = GROUP / LANES }; /* values of a register; registers of a group */
enum { MAX_TILE = 4 };                        /* input rows multiplied at once */
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
NEON static const float *transform_input(const struct product *p, int64_t input_row,
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

/* Quantises an input row into `blocks` blocks of q, from first_block on. */
INLINE void quantise(const float *input, int64_t blocks, int offset, int64_t first_block,
                     struct quantised *q) {
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

INLINE void multiply_packed(int bits, const struct product *p, int64_t first_group,
                            int64_t end_group) {
    static _Thread_local struct quantised quantised;
    static _Thread_local float transformed[MAX_COLUMNS];
    const int64_t blocks = p->matrix->columns / BLOCK;
    const int64_t group_stride = group_bytes(p->matrix->format, p->matrix->columns);
    const int64_t capacity = BUFFER_SIZE / p->matrix->columns; /* input rows */
    const int offset = bits == 4 ? p->matrix->format->zero_point : 0;
    for (int64_t start = 0; start < p->count; start += capacity) {
        const int64_t count = p->count - start < capacity ? p->count - start : capacity;
        for (int64_t n = 0; n < count; n++) {
            const float *input = transform_input(p, start + n, transformed);
            quantise(input, blocks, offset, n * blocks, &quantised);
        }
        for (int64_t group = first_group; group < end_group; group++) {
            const uint8_t *data = p->matrix->data + group * group_stride;
            int64_t n = 0;
            for (; n + MAX_TILE <= count; n += MAX_TILE) {
                multiply_group(bits, data, blocks, &quantised, n, MAX_TILE,
                               output_at(p, start + n, group * GROUP));
            }
            for (; n < count; n++) {
                multiply_group(bits, data, blocks, &quantised, n, 1,
                               output_at(p, start + n, group * GROUP));
            }
        }
    }
}

/* Multiplies four matrix rows of F16 by `count` input rows. */
INLINE void multiply_four_rows(const uint8_t *weights, int64_t columns, const float *const *input,
                               int count, struct output_tile tile) {
    float32x4_t sum[4][MAX_TILE];
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

NEON static void multiply_f16(const struct product *p, int64_t first_group, int64_t end_group) {
    static _Thread_local float transformed[BUFFER_SIZE];
    const int64_t columns = p->matrix->columns, capacity = BUFFER_SIZE / columns;
    for (int64_t start = 0; start < p->count; start += capacity) {
        const int64_t count = p->count - start < capacity ? p->count - start : capacity;
        const float *input[BUFFER_SIZE / BLOCK];
        for (int64_t n = 0; n < count; n++) {
            input[n] = transform_input(p, start + n, transformed + n * columns);
        }
        for (int64_t row = GROUP * first_group; row < GROUP * end_group; row += 4) {
            const uint8_t *weights = p->matrix->data + 2 * row * columns;
            int64_t n = 0;
            for (; n + MAX_TILE <= count; n += MAX_TILE) {
                multiply_four_rows(weights, columns, input + n, MAX_TILE,
                                   output_at(p, start + n, row));
            }
            for (; n < count; n++) {
                multiply_four_rows(weights, columns, input + n, 1, output_at(p, start + n, row));
            }
        }
    }
}

/* A ggml_custom_op_t. The matrix rows are divided among the threads. */
NEON static void multiply(void *tensor, int thread, int threads, void *product) {
    (void)tensor;
    const struct product *p = product;
    const int64_t groups = p->matrix->rows / GROUP;
    const int64_t first = groups * thread / threads, end = groups * (thread + 1) / threads;
    switch (p->matrix->format->bits) {
    case 4:
        multiply_packed(4, p, first, end);
        break;
    case 8:
        multiply_packed(8, p, first, end);
        break;
    default:
        multiply_f16(p, first, end);
    }
}

const struct kernels arm_neon_kernels = {
    .name = "neon",
    .is_supported = is_supported,
    .can_multiply = is_divisible,
    .can_attend = arm_neon_can_attend,
    .multiply = multiply,
    .attend = arm_neon_attend,
};
#endif
