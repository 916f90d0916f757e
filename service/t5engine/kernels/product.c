/* Matrix products for few columns, on x86 processors with AVX-512 and VNNI.
 *
 * Decoding multiplies every matrix by one column, or by a few: what counts is how fast the weights
 * come in. ggml's kernels for that spend more time on arithmetic than the memory takes to deliver;
 * these unpack 64 weights an instruction, keep the scales apart from the weights, and fetch ahead.
 *
 * Quantised types are laid out anew: groups of 16 rows, each group with all its blocks of 32
 * columns one after another, then all their scales.
 *   Q4_0: a block is four vectors of 64 bytes, of each row bytes 0 to 3 of its 16, and so on.
 *   Q8_0: a block is eight vectors of 64 bytes, of each row values 0 to 3 of its 32, and so on,
 *         each plus 128: one operand of the instruction is unsigned.
 * F16 is read as it is in the file.
 *
 * The columns are quantised in blocks of 32 as ggml's Q8_0 are, with scales of F32. A column's
 * result does not depend on how many are multiplied at once.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { F16 = 1, Q4_0 = 2, Q8_0 = 8 }; /* enum ggml_type */
enum { GROUP = 16, BLOCK = 32, SCALES = 2 * GROUP, TILE = 12, MOST_COLUMNS = 16384 };
enum { ROOM = 4 * MOST_COLUMNS }; /* values that are quantised at once: of four columns or more */

/* A matrix of rows x columns weights; row-major F16, or packed. */
struct matrix {
    int64_t type, rows, columns;
    const uint8_t *data;
};

/* output (count, rows) = input (count, columns) times the matrix, all F32 and contiguous.
 *
 * What stands before and after a product in T5 is done with it, so that threads need not wait for
 * each other in between: the input is normed (by its root mean square, and times `norm`) or
 * rectified, `residual` (count, rows) is added to the output. NULL and 0: not. */
struct product {
    const struct matrix *matrix;
    const float *input;
    float *output;
    int64_t count;
    const float *norm, *residual;
    float epsilon;
    int32_t rectified;
};

int t5_can_multiply(int64_t type, int64_t rows, int64_t columns);
size_t t5_block_size(int64_t type);
void t5_pack(int64_t type, int64_t rows, int64_t columns, const uint8_t *source, uint8_t *target);
void t5_multiply(void *tensor, int thread, int threads, void *product);

/* Bytes of a group's block without its scales. */
size_t t5_block_size(int64_t type) {
    return (size_t)(type == Q4_0 ? GROUP * BLOCK / 2 : GROUP * BLOCK);
}

/* From ggml's row-major blocks, each a scale of F16 and then the weights. */
void t5_pack(int64_t type, int64_t rows, int64_t columns, const uint8_t *source, uint8_t *target) {
    const int64_t blocks = columns / BLOCK;
    const size_t size = t5_block_size(type), weights = size / GROUP;
    const uint32_t flipped = type == Q8_0 ? 0x80808080u : 0; /* adds 128 to each of 4 */
    for (int64_t row = 0; row < rows; row++) {
        uint8_t *group = target + row / GROUP * blocks * (size + SCALES);
        uint8_t *scales = group + blocks * size;
        const size_t place = row % GROUP;
        for (int64_t block = 0; block < blocks; block++) {
            memcpy(scales + block * SCALES + 2 * place, source, 2);
            for (size_t i = 0; i < weights; i += 4) {
                uint32_t four;
                memcpy(&four, source + 2 + i, 4);
                four ^= flipped;
                memcpy(group + block * size + GROUP * i + 4 * place, &four, 4);
            }
            source += 2 + weights;
        }
    }
}

#if defined(__x86_64__)
#include <immintrin.h>
#define VECTORS __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline)) VECTORS
enum { AHEAD = 4096 }; /* bytes: measured, 2048 to 8192 do as well */

int t5_can_multiply(int64_t type, int64_t rows, int64_t columns) {
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512vnni")) {
        return 0;
    }
    return (type == F16 || type == Q4_0 || type == Q8_0) && rows % GROUP == 0 &&
           columns % BLOCK == 0 && columns > 0 && columns <= MOST_COLUMNS;
}

/* Columns in blocks of 32: values; scale; what is added to take off that weights count from 0 up. */
struct columns {
    int8_t values[ROOM];
    float scales[ROOM / BLOCK];
    int32_t excess[ROOM / BLOCK];
};

/* A column of the input as it is to be multiplied; in `room` if that differs from the input. */
VECTORS static const float *prepare(const struct product *p, int64_t column, float *room) {
    const int64_t size = p->matrix->columns;
    const float *input = p->input + column * size;
    if (!p->norm && !p->rectified) return input;
    float scale = 1;
    if (p->norm) {
        __m512 squares = _mm512_setzero_ps();
        for (int64_t i = 0; i < size; i += 16) {
            const __m512 x = _mm512_loadu_ps(input + i);
            squares = _mm512_fmadd_ps(x, x, squares);
        }
        scale = 1 / sqrtf(_mm512_reduce_add_ps(squares) / (float)size + p->epsilon);
    }
    for (int64_t i = 0; i < size; i += 16) {
        __m512 x = _mm512_loadu_ps(input + i);
        if (p->norm) {
            x = _mm512_mul_ps(_mm512_mul_ps(x, _mm512_set1_ps(scale)), _mm512_loadu_ps(p->norm + i));
        }
        if (p->rectified) x = _mm512_max_ps(_mm512_setzero_ps(), x); /* in this order NaN stays */
        _mm512_storeu_ps(room + i, x);
    }
    return room;
}

INLINE void quantise(const float *input, int64_t blocks, int lowest, int64_t first,
                     struct columns *to) {
    for (int64_t block = 0; block < blocks; block++) {
        const __m512 low = _mm512_loadu_ps(input + BLOCK * block);
        const __m512 high = _mm512_loadu_ps(input + BLOCK * block + 16);
        const float largest =
            _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
        const __m512 inverse = _mm512_set1_ps(largest > 0 ? 127 / largest : 0);
        const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
        const __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
        int8_t *values = to->values + BLOCK * (first + block);
        _mm_storeu_si128((__m128i *)values, _mm512_cvtsepi32_epi8(a));
        _mm_storeu_si128((__m128i *)(values + 16), _mm512_cvtsepi32_epi8(b));
        const int lost = _mm512_cmp_ps_mask(low, high, _CMP_UNORD_Q); /* the maximum drops NaN */
        to->scales[first + block] = lost ? NAN : largest / 127;
        to->excess[first + block] = lowest * _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
    }
}

/* Where results go, and what is added to them, if anything; columns are `next` apart. */
struct place {
    float *output;
    const float *residual;
    int64_t next;
};

INLINE struct place place_of(const struct product *p, int64_t column, int64_t row) {
    const int64_t next = p->matrix->rows, at = column * next + row;
    return (struct place){p->output + at, p->residual ? p->residual + at : NULL, next};
}

/* A group's 16 rows times `count` columns from the first one on. */
INLINE void multiply_group(int type, const uint8_t *group, int64_t blocks,
                           const struct columns *columns, int64_t first, int count,
                           struct place to) {
    const int vectors = type == Q4_0 ? 4 : 8;
    const uint8_t *scales = group + blocks * vectors * 64;
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512 sum[TILE];
    for (int c = 0; c < count; c++) sum[c] = _mm512_setzero_ps();
    for (int64_t block = 0; block < blocks; block++) {
        const uint8_t *weights = group + block * vectors * 64;
        __m512i w[8];
        for (int i = 0; i < vectors; i++) {
            _mm_prefetch((const char *)weights + 64 * i + AHEAD, _MM_HINT_T0);
            w[i] = _mm512_loadu_si512(weights + 64 * i);
        }
        for (int i = 0; i < 4 && type == Q4_0; i++) {
            w[4 + i] = _mm512_and_si512(_mm512_srli_epi16(w[i], 4), nibble);
            w[i] = _mm512_and_si512(w[i], nibble);
        }
        const __m256i halves = _mm256_loadu_si256((const __m256i *)(scales + SCALES * block));
        const __m512 scale = _mm512_cvtph_ps(halves);
        for (int c = 0; c < count; c++) {
            const int64_t at = (first + c) * blocks + block;
            int32_t x[8];
            memcpy(x, columns->values + BLOCK * at, BLOCK);
            __m512i dot = _mm512_set1_epi32(columns->excess[at]);
            for (int i = 0; i < 8; i++) {
                dot = _mm512_dpbusd_epi32(dot, w[i], _mm512_set1_epi32(x[i]));
            }
            const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(columns->scales[at]));
            sum[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), factor, sum[c]);
        }
    }
    for (int c = 0; c < count; c++) {
        if (to.residual) sum[c] = _mm512_add_ps(sum[c], _mm512_loadu_ps(to.residual + c * to.next));
        _mm512_storeu_ps(to.output + c * to.next, sum[c]);
    }
}

/* The same for as many of the columns that are left as one case takes, and how many those are:
 * the more, the less often weights are unpacked. Each case is compiled for itself. */
INLINE int multiply_tile(int type, const uint8_t *group, int64_t blocks,
                         const struct columns *columns, int64_t first, int64_t left,
                         struct place to) {
#define TAKE(count)                                                          \
    if (left >= (count)) {                                                   \
        multiply_group(type, group, blocks, columns, first, (count), to);    \
        return (count);                                                      \
    }
    TAKE(TILE)
    TAKE(8)
    TAKE(4)
    TAKE(3)
    TAKE(2)
#undef TAKE
    multiply_group(type, group, blocks, columns, first, 1, to);
    return 1;
}

VECTORS static void multiply_packed(int type, const struct product *p, int64_t from, int64_t to) {
    static __thread struct columns columns;
    static __thread float prepared[MOST_COLUMNS];
    const int64_t blocks = p->matrix->columns / BLOCK;
    const int64_t stride = blocks * ((int64_t)t5_block_size(type) + SCALES);
    const int64_t room = ROOM / p->matrix->columns;
    const int lowest = type == Q4_0 ? -8 : -128;
    for (int64_t start = 0; start < p->count; start += room) {
        const int64_t count = p->count - start < room ? p->count - start : room;
        for (int64_t c = 0; c < count; c++) {
            quantise(prepare(p, start + c, prepared), blocks, lowest, c * blocks, &columns);
        }
        for (int64_t group = from; group < to; group++) {
            const uint8_t *data = p->matrix->data + group * stride;
            for (int64_t c = 0; c < count;) {
                c += multiply_tile(type, data, blocks, &columns, c, count - c,
                                   place_of(p, start + c, group * GROUP));
            }
        }
    }
}

/* Four rows of F16 times one column. */
INLINE void multiply_four(const uint8_t *weights, int64_t columns, const float *input,
                          struct place to) {
    __m512 sum[4];
    for (int r = 0; r < 4; r++) sum[r] = _mm512_setzero_ps();
    for (int64_t i = 0; i < columns; i += 16) {
        const __m512 x = _mm512_loadu_ps(input + i);
        for (int r = 0; r < 4; r++) {
            const uint8_t *at = weights + 2 * (r * columns + i);
            const __m512 w = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
            sum[r] = _mm512_fmadd_ps(w, x, sum[r]);
        }
    }
    for (int r = 0; r < 4; r++) {
        to.output[r] = _mm512_reduce_add_ps(sum[r]) + (to.residual ? to.residual[r] : 0);
    }
}

VECTORS static void multiply_halves(const struct product *p, int64_t from, int64_t to) {
    static __thread float prepared[ROOM];
    const int64_t columns = p->matrix->columns, room = ROOM / columns;
    for (int64_t start = 0; start < p->count; start += room) {
        const int64_t count = p->count - start < room ? p->count - start : room;
        const float *input[ROOM / BLOCK];
        for (int64_t c = 0; c < count; c++) input[c] = prepare(p, start + c, prepared + c * columns);
        for (int64_t row = GROUP * from; row < GROUP * to; row += 4) {
            const uint8_t *weights = p->matrix->data + 2 * row * columns;
            for (int64_t c = 0; c < count; c++) {
                multiply_four(weights, columns, input[c], place_of(p, start + c, row));
            }
        }
    }
}

/* A ggml_custom_op_t: each thread takes a share of the rows. */
void t5_multiply(void *tensor, int thread, int threads, void *product) {
    (void)tensor;
    const struct product *p = product;
    const int64_t groups = p->matrix->rows / GROUP;
    const int64_t from = groups * thread / threads, to = groups * (thread + 1) / threads;
    switch (p->matrix->type) {
    case Q4_0:
        multiply_packed(Q4_0, p, from, to);
        break;
    case Q8_0:
        multiply_packed(Q8_0, p, from, to);
        break;
    default:
        multiply_halves(p, from, to);
    }
}
#else
int t5_can_multiply(int64_t type, int64_t rows, int64_t columns) {
    (void)type, (void)rows, (void)columns;
    return 0;
}

void t5_multiply(void *tensor, int thread, int threads, void *product) {
    (void)tensor, (void)thread, (void)threads, (void)product;
}
#endif
