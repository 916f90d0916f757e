/* What the kernels of all instruction sets share: operands, packed layout, the dispatch table.
 *
 * Quantised matrices are repacked: groups of 16 matrix rows, each group with all its blocks of 32
 * columns one after another, then all their scales.
 *   Q4_0: a block is four vectors of 64 bytes: bytes 0 to 3 of each row's 16, then 4 to 7, ...
 *   Q8_0: a block is eight vectors of 64 bytes: values 0 to 3 of each row's 32, then 4 to 7, ...
 *         128 is added to each value: one operand of the instruction is unsigned.
 * F16 matrices are read as they are in the file.
 */
#ifndef T5ENGINE_KERNELS_H
#define T5ENGINE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { F16 = 1, Q4_0 = 2, Q8_0 = 8 }; /* enum ggml_type */
/* Matrix rows per group; columns per block; bytes of a group's scales per block. */
enum { GROUP = 16, BLOCK = 32, SCALE_BYTES = 2 * GROUP };

/* A matrix of rows x columns weights; row-major F16, or packed. */
struct matrix {
    int64_t type, rows, columns;
    const uint8_t *data;
};

/* output (count, rows) = input (count, columns) times the transposed matrix, F32 and contiguous.
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
};

/* All values are F32; strides count values. The heads of a token are contiguous in q, k, v, output.
 *
 * The bias of a query and a key is
 *   bias[row * bias_row_stride + head * bias_head_stride + query * keys + key];
 * -inf masks the key, whatever its K and V hold. output: (rows, queries, heads, d_kv). */
struct attention {
    const float *q, *k, *v, *bias;
    float *output;
    int64_t d_kv, heads, queries, keys, rows;
    int64_t q_stride, kv_stride, kv_row_stride; /* query to query, key to key, row to row */
    int64_t bias_head_stride, bias_row_stride;
};

/* The kernels of one instruction set. `multiply` and `attend` are ggml_custom_op_t whose last
 * argument is a struct product or a struct attention. A result does not depend on how many input
 * rows are multiplied at once. */
struct kernels {
    int (*is_supported)(void); /* by the processor that runs this */
    int (*can_multiply)(int64_t type, int64_t rows, int64_t columns);
    int (*can_attend)(int64_t d_kv, int64_t keys);
    void (*multiply)(void *tensor, int thread, int threads, void *product);
    void (*attend)(void *tensor, int thread, int threads, void *attention);
};

#if defined(__x86_64__)
extern const struct kernels x86_avx512_kernels;
int x86_avx512_can_attend(int64_t d_kv, int64_t keys);
void x86_avx512_attend(void *tensor, int thread, int threads, void *attention);
#endif

/* What the loader calls. */
int t5_can_multiply(int64_t type, int64_t rows, int64_t columns);
int t5_can_attend(int64_t d_kv, int64_t keys);
void t5_multiply(void *tensor, int thread, int threads, void *product);
void t5_attend(void *tensor, int thread, int threads, void *attention);
size_t t5_block_size(int64_t type);
void t5_pack(int64_t type, int64_t rows, int64_t columns, const uint8_t *source, uint8_t *target);

#endif
