/* Products and attention in plain C: the definition that all other kernels are held to. */
#include "kernels.h"

#include <math.h>
#include <string.h>

static int is_supported(void) { return 1; }

static int can_attend(int64_t d_kv, int64_t keys) {
    return d_kv > 0 && keys > 0 && keys <= MAX_KEYS;
}

static float from_f16(const uint8_t *source) {
    uint16_t half;
    memcpy(&half, source, 2);
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const float magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                            : exponent == 0 ? ldexpf((float)fraction, -24)
                                            : ldexpf((float)(1024 + fraction), exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

/* Writes an input row after norm and ReLU. */
static void transform(const struct product *p, const float *input, float *output) {
    const int64_t columns = p->matrix->columns;
    double squares = 0;
    for (int64_t i = 0; i < columns; i++) squares += (double)input[i] * input[i];
    const float scale = (float)(1 / sqrt(squares / (double)columns + p->epsilon));
    for (int64_t i = 0; i < columns; i++) {
        float x = input[i];
        if (p->norm) x = x * scale * p->norm[i];
        if (p->relu) x = x < 0 ? 0 : x; /* keeps NaN */
        output[i] = x;
    }
}

/* Rounds an input row in blocks of 32 as ggml's Q8_0, with a scale of F32 a block. */
static void quantise(const float *input, int64_t columns, int8_t *values, float *scales) {
    for (int64_t block = 0; block < columns / BLOCK; block++) {
        const float *x = input + BLOCK * block;
        float max_abs = 0;
        int has_nan = 0;
        for (int i = 0; i < BLOCK; i++) {
            max_abs = fmaxf(max_abs, fabsf(x[i]));
            has_nan |= isnan(x[i]);
        }
        const float inverse = max_abs > 0 ? 127 / max_abs : 0;
        const int is_finite = !has_nan && isfinite(max_abs);
        for (int i = 0; i < BLOCK; i++) {
            values[BLOCK * block + i] = (int8_t)(is_finite ? lrintf(x[i] * inverse) : 0);
        }
        scales[block] = is_finite ? max_abs / 127 : NAN;
    }
}

/* The packed weight at a matrix row's lane of a group and a column, less the zero point. */
static int weight_at(const struct format *format, const uint8_t *group, int64_t lane,
                     int64_t column) {
    const int64_t half = BLOCK / 2, i = column % BLOCK;
    const uint8_t *block = group + column / BLOCK * block_bytes(format->bits);
    const int64_t byte = format->bits == 8 ? i : i % half; /* Q4_0: columns 16 on, in high bits */
    const int packed = block[byte / 4 * VECTOR_BYTES + 4 * lane + byte % 4];
    if (format->bits == 8) return packed - format->zero_point;
    return (i < half ? packed & 15 : packed >> 4) - format->zero_point;
}

static float multiply_packed_row(const struct matrix *m, int64_t row, const int8_t *values,
                                 const float *scales) {
    const int64_t blocks = m->columns / BLOCK, lane = row % GROUP;
    const uint8_t *group = m->data + row / GROUP * group_bytes(m->format, m->columns);
    float sum = 0;
    for (int64_t block = 0; block < blocks; block++) {
        int dot = 0;
        for (int64_t i = BLOCK * block; i < BLOCK * (block + 1); i++) {
            dot += weight_at(m->format, group, lane, i) * values[i];
        }
        const uint8_t *end = group + (block + 1) * block_bytes(m->format->bits);
        const float scale = from_f16(end - SCALE_BYTES + 2 * lane);
        sum = fmaf((float)dot, scale * scales[block], sum);
    }
    return sum;
}

static float multiply_f16_row(const struct matrix *m, int64_t row, const float *input) {
    double sum = 0;
    for (int64_t i = 0; i < m->columns; i++) {
        sum += (double)from_f16(m->data + 2 * (row * m->columns + i)) * input[i];
    }
    return (float)sum;
}

static void multiply(void *tensor, int thread, int threads, void *product) {
    (void)tensor;
    static _Thread_local float transformed[MAX_COLUMNS], scales[MAX_COLUMNS / BLOCK];
    static _Thread_local int8_t values[MAX_COLUMNS];
    const struct product *p = product;
    const struct matrix *m = p->matrix;
    const int64_t groups = m->rows / GROUP, part_rows = m->rows / p->parts;
    const int64_t first = groups * thread / threads, end = groups * (thread + 1) / threads;
    for (int64_t n = 0; n < p->count; n++) {
        for (int64_t row = GROUP * first; row < GROUP * end; row++) {
            if (row == GROUP * first || row % part_rows == 0) {
                const int64_t part = row / part_rows;
                transform(p, p->input + (n * p->parts + part) * m->columns, transformed);
                if (m->format->bits < 16) quantise(transformed, m->columns, values, scales);
            }
            const int64_t i = n * m->rows + row;
            p->output[i] = m->format->bits == 16 ? multiply_f16_row(m, row, transformed)
                                                 : multiply_packed_row(m, row, values, scales);
            if (p->residual) p->output[i] += p->residual[i];
        }
    }
}

/* One query of one head: output = softmax(q k + bias) v. */
static void attend_query(const struct attention *a, const float *q, const float *k, const float *v,
                         const float *bias, float *output) {
    static _Thread_local double scores[MAX_KEYS];
    double max = -INFINITY, sum = 0;
    for (int64_t key = 0; key < a->keys; key++) {
        scores[key] = bias[key];
        for (int64_t d = 0; d < a->d_kv && bias[key] != -INFINITY; d++) {
            scores[key] += (double)q[d] * k[key * a->kv_stride + d];
        }
        max = fmax(max, scores[key]);
    }
    for (int64_t key = 0; key < a->keys; key++) {
        scores[key] = exp(scores[key] - max);
        sum += scores[key];
    }
    for (int64_t d = 0; d < a->d_kv; d++) {
        double value = 0;
        for (int64_t key = 0; key < a->keys; key++) {
            if (scores[key] != 0) value += scores[key] * v[key * a->kv_stride + d];
        }
        output[d] = (float)(value / sum);
    }
}

static void attend(void *tensor, int thread, int threads, void *attention) {
    (void)tensor;
    const struct attention *a = attention;
    const int64_t tasks = a->rows * a->heads;
    for (int64_t task = tasks * thread / threads; task < tasks * (thread + 1) / threads; task++) {
        const int64_t row = task / a->heads, head = task % a->heads;
        const int64_t kv = row * a->kv_row_stride + head * a->kv_head_stride;
        const float *bias = a->bias + row * a->bias_row_stride + head * a->bias_head_stride;
        for (int64_t query = 0; query < a->queries; query++) {
            const int64_t token = row * a->queries + query;
            attend_query(a, a->q + token * a->q_stride + head * a->d_kv, a->k + kv, a->v + kv,
                         bias + query * a->keys, a->output + (token * a->heads + head) * a->d_kv);
        }
    }
}

const struct kernels scalar_kernels = {
    .name = "scalar",
    .is_supported = is_supported,
    .can_multiply = is_divisible,
    .can_attend = can_attend,
    .multiply = multiply,
    .attend = attend,
};
