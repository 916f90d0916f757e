/* What the kernels of all instruction sets share: formats, operands, packed layout.
 *
 * Quantised matrices are repacked: groups of 16 matrix rows, each group with its blocks of 32
 * columns one after another, each block with as many vectors of 64 bytes as a weight has bits, then
 * the rows' 16 scales of F16.
 *   Q4_0: bytes 0 to 3 of each row's 16, then 4 to 7, ...
 *   Q8_0: values 0 to 3 of each row's 32, then 4 to 7, ...
 *         128 is added to each value: one operand of the instruction is unsigned.
 * So a matrix is read in one stream. With the scales apart, in a second one, a step over one row
 * took twice as long (Zen 4), though every vector was aligned. F16 matrices are read as they are in
 * the file.
 */
#ifndef T5ENGINE_KERNELS_H
#define T5ENGINE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Matrix rows per group; columns per block; bytes per vector, and of a block's scales. */
enum { GROUP = 16, BLOCK = 32, VECTOR_BYTES = 64, SCALE_BYTES = 2 * GROUP };
/* The largest matrices: columns, and keys of an attention. */
enum { MAX_COLUMNS = 16384, MAX_KEYS = 4096 };

/* A type of weights. */
struct format {
    int64_t type;    /* enum ggml_type */
    int bits;        /* of a weight; 16: F16, which is not packed */
    int zero_point;  /* packed weights are unsigned: weight = (packed - zero_point) * scale */
    uint8_t flipped; /* bits that packing inverts in every byte */
};

/* A matrix of rows x columns weights; row-major F16, or packed. */
struct matrix {
    const struct format *format;
    int64_t rows, columns;
    const uint8_t *data;
};

/* output (count, rows) = input (count, columns) times the transposed matrix, F32 and contiguous.
 *
 * With several parts the matrix is block diagonal: input is (count, parts, columns), and each part
 * of an input row is multiplied by a part of the matrix rows, which are divided equally. A part has
 * whole groups of rows.
 *
 * What T5 does before and after a product is part of it, so that threads need not wait for each
 * other in between:
 *   norm:      input = input * rsqrt(mean(input^2) + epsilon) * norm, unless NULL
 *   relu: input = max(input, 0), unless 0
 *   residual:  output = output + residual (count, rows), unless NULL */
struct product {
    const struct matrix *matrix;
    const float *input;
    float *output;
    int64_t count;
    const float *norm, *residual;
    float epsilon;
    int32_t relu;
    int64_t parts; /* 1: a matrix as usual; more: no norm and no ReLU */
};

/* All values are F32; strides count values. The heads of a token are contiguous in q and output. In
 * k and v they are kv_head_stride apart: d_kv, or 0 if all heads share k and v.
 *
 * The bias of a query and a key is
 *   bias[row * bias_row_stride + head * bias_head_stride + query * keys + key];
 * -inf masks the key, whatever its K and V hold. output: (rows, queries, heads, d_kv). */
struct attention {
    const float *q, *k, *v, *bias;
    float *output;
    int64_t d_kv, heads, queries, keys, rows;
    int64_t q_stride, kv_stride, kv_row_stride; /* query to query, key to key, row to row */
    int64_t kv_head_stride;
    int64_t bias_head_stride, bias_row_stride;
};

/* Scores from those of a query to those of the next: not in the same sets of a cache. */
enum { SCORE_STRIDE = MAX_KEYS + GROUP };

/* Queries over the same keys; strides count values. */
struct queries {
    const float *q, *bias;
    float *output;
    int64_t q_stride, bias_stride, output_stride;
};

/* The kernels of one instruction set. `multiply` and `attend` are ggml_custom_op_t whose last
 * argument is a struct product or a struct attention. A result does not depend on how many input
 * rows are multiplied at once. */
struct kernels {
    const char *name;
    int (*is_supported)(void); /* by the processor that runs this */
    int (*can_multiply)(const struct format *format, int64_t rows, int64_t columns);
    int (*can_attend)(int64_t d_kv, int64_t keys);
    void (*multiply)(void *tensor, int thread, int threads, void *product);
    void (*attend)(void *tensor, int thread, int threads, void *attention);
};

/* The definition that the others are held to; any processor. */
extern const struct kernels scalar_kernels;
#if defined(__x86_64__)
extern const struct kernels x86_avx2_kernels, x86_avxvnni_kernels, x86_avx512_kernels;
int x86_avx512_can_attend(int64_t d_kv, int64_t keys);
void x86_avx512_attend(void *tensor, int thread, int threads, void *attention);
int x86_avx2_can_attend(int64_t d_kv, int64_t keys);
void x86_avx2_attend(void *tensor, int thread, int threads, void *attention);
#elif defined(__aarch64__)
extern const struct kernels arm_neon_kernels;
int arm_neon_can_attend(int64_t d_kv, int64_t keys);
void arm_neon_attend(void *tensor, int thread, int threads, void *attention);
#endif

/* Whether groups and blocks divide the matrix; all kernels of matrices need it. */
static inline int is_divisible(const struct format *format, int64_t rows, int64_t columns) {
    return format && rows % GROUP == 0 && columns % BLOCK == 0 && columns > 0 &&
           columns <= MAX_COLUMNS;
}

/* Bytes of a block of packed weights, of so many bits each. */
static inline int64_t block_bytes(int bits) { return bits * VECTOR_BYTES + SCALE_BYTES; }

/* Bytes of a packed group. */
static inline int64_t group_bytes(const struct format *format, int64_t columns) {
    return columns / BLOCK * block_bytes(format->bits);
}

/* Where the results of some input rows go, and the residual that is added, or NULL. Both have a row
 * for each input row, `stride` values apart. */
struct output_tile {
    float *output;
    const float *residual;
    int64_t stride;
};

static inline struct output_tile output_at(const struct product *p, int64_t input_row,
                                           int64_t row) {
    const int64_t stride = p->matrix->rows, offset = input_row * stride + row;
    const float *residual = p->residual ? p->residual + offset : NULL;
    return (struct output_tile){p->output + offset, residual, stride};
}

/* A graph of ggml's that computes one decoder step of a lone sequence, over so many tokens. */
struct greedy_step {
    void *graph;
    int32_t *ids;         /* inputs: (tokens) */
    int64_t *slots;       /* where in the cache their keys and values go: (tokens) */
    float *const *biases; /* inputs: (heads, tokens, self_keys), one for each table */
    float *logits;        /* output: (tokens, vocab_rows) */
    int64_t tokens, self_keys, vocab_rows;
    int64_t max_runs, runs; /* how often the graph may be computed, and how often it was */
    double seconds;         /* that this took */
    int32_t threads;        /* that compute it */
};

/* A sequence that is decoded greedily. */
struct greedy {
    int (*compute)(void *backend, void *graph); /* ggml_backend_graph_compute; 0: success */
    void (*set_threads)(void *backend, int threads);
    void *backend;
    struct greedy_step *single, *drafting; /* of one token; of one and a draft, or NULL */
    const float *const *biases;            /* tables: (positions, heads, row_slots) */
    const int64_t *source, *suppressed;    /* the encoder's input; ids that are not generated */
    int64_t tables, heads, row_slots, source_count, suppressed_count;
    const int64_t *biased; /* ids whose logits are changed before a token is chosen */
    const float *bias;     /* what is added to them */
    int64_t bias_count;
    float *saved;     /* memory: suppressed_count and bias_count values */
    int64_t capacity; /* inputs that the decoder takes at most */
    int64_t n_vocab, start, eos;
    double seconds;        /* after which the run ends */
    int64_t drafted, kept; /* tokens that were drafted, and that were chosen */
    int32_t descriptor;    /* the run ends when there is something to read */
    int32_t is_finite;     /* whether all logits were */
};

/* What the loader calls. */
extern const size_t t5_struct_sizes[6]; /* in the order of this file */
const struct kernels *t5_find_kernels(const char *name);
const struct format *t5_find_format(int64_t type);
void t5_pack(const struct format *format, int64_t rows, int64_t columns, const uint8_t *source,
             uint8_t *target);
double t5_log_sum_exp(const float *values, int64_t count);
int32_t t5_are_finite(const float *values, int64_t count);
int64_t t5_find_highest(const float *values, int64_t count);
int64_t t5_rank(const float *const *rows, int64_t row_count, int64_t n_vocab, const float *offsets,
                const int64_t *excluded_ids, int64_t excluded_count, int32_t are_logits,
                int64_t max_results, int64_t *indices, float *scores, float *values);
int64_t t5_run_greedily(struct greedy *g, int64_t decoded, int64_t limit, int64_t *tokens,
                        float *logits, double *log_totals);

#endif
