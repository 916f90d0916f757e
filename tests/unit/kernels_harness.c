/* Holds every kernel that this processor has to the scalar ones, on shapes of all sizes.
 *
 * Compiled by tests with the kernels' sources, with sanitizers or for another processor. Prints a
 * line for each instruction set; ends with 1 at the first result that differs.
 */
#include "kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t seed = 1;

/* Uniform in [-1, 1). */
static float draw(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1.0f;
}

static float *draw_values(int64_t count) {
    float *values = malloc((size_t)count * sizeof *values);
    for (int64_t i = 0; i < count; i++) values[i] = draw();
    return values;
}

static void store_f16(uint8_t *target, int exponent) {
    const uint16_t half = (uint16_t)((unsigned)exponent << 10 | (seed >> 9 & 1023));
    memcpy(target, &half, 2);
}

/* Random weights as a GGUF file holds them, packed if the format is. */
static uint8_t *draw_matrix(const struct format *format, int64_t rows, int64_t columns) {
    const int64_t count = rows * columns;
    const int64_t bytes =
        format->bits == 16 ? 2 * count : count / BLOCK * (2 + BLOCK * format->bits / 8);
    uint8_t *stored = malloc((size_t)bytes);
    for (int64_t i = 0; i < bytes; i++) stored[i] = (uint8_t)(127 * draw());
    const int64_t step = format->bits == 16 ? 2 : 2 + BLOCK * format->bits / 8;
    for (int64_t i = 0; i < bytes; i += step, draw()) store_f16(stored + i, 10);
    if (format->bits == 16) return stored;
    uint8_t *packed = malloc((size_t)(rows / GROUP * group_bytes(format, columns)));
    t5_pack(format, rows, columns, stored, packed);
    free(stored);
    return packed;
}

static double largest_difference(const float *a, const float *b, int64_t count) {
    double largest = 0;
    for (int64_t i = 0; i < count; i++) {
        const double difference = fabs((double)a[i] - b[i]);
        if (!(difference <= largest)) largest = difference; /* NaN too */
    }
    return largest;
}

static double largest_value(const float *values, int64_t count) {
    double largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)values[i]));
    return largest;
}

static void check(const char *name, const char *what, double difference, double scale,
                  double tolerance) {
    if (difference <= tolerance * scale) return;
    printf("%s: %s differs by %g of %g\n", name, what, difference, scale);
    exit(1);
}

static void check_product(const struct kernels *kernels, int64_t type, int64_t rows,
                          int64_t columns, int64_t count, int features, int64_t parts) {
    const struct format *format = t5_find_format(type);
    if (!kernels->can_multiply(format, rows, columns)) return;
    uint8_t *weights = draw_matrix(format, rows, columns);
    float *input = draw_values(count * parts * columns), *norm = draw_values(columns);
    float *residual = draw_values(count * rows);
    float *expected = malloc((size_t)(count * rows) * sizeof *expected);
    float *actual = malloc((size_t)(count * rows) * sizeof *actual);
    const struct matrix matrix = {format, rows, columns, weights};
    struct product product = {.matrix = &matrix,
                              .input = input,
                              .output = expected,
                              .count = count,
                              .epsilon = 1e-6f,
                              .relu = features & 1,
                              .parts = parts};
    if (features & 2) product.norm = norm;
    if (features & 4) product.residual = residual;
    scalar_kernels.multiply(NULL, 0, 1, &product);
    product.output = actual;
    for (int thread = 0; thread < 3; thread++) kernels->multiply(NULL, thread, 3, &product);
    /* With a norm, a value on the edge may be rounded to the other of two steps of 1/127. */
    const double tolerance = features & 2 ? 0.02 : 2e-5;
    check(kernels->name, "product", largest_difference(expected, actual, count * rows),
          largest_value(expected, count * rows), tolerance);
    free(weights), free(input), free(norm), free(residual), free(expected), free(actual);
}

static void check_attention(const struct kernels *kernels, int64_t d_kv, int64_t heads,
                            int64_t queries, int64_t keys, int64_t rows, int shares_keys) {
    if (!kernels->can_attend(d_kv, keys)) return;
    const int64_t inner = heads * d_kv, outputs = rows * queries * inner;
    float *q = draw_values(outputs), *cache = draw_values(rows * keys * 2 * inner);
    float *bias = draw_values(rows * heads * queries * keys);
    if (shares_keys) queries = 1;
    for (int64_t i = 0; i < rows * heads * queries * keys; i++) {
        if (i % keys && bias[i] < -0.4f) bias[i] = -INFINITY;
    }
    float *expected = malloc((size_t)outputs * sizeof *expected);
    float *actual = malloc((size_t)outputs * sizeof *actual);
    struct attention attention = {.q = q,
                                  .k = cache,
                                  .v = cache + inner,
                                  .bias = bias,
                                  .output = expected,
                                  .d_kv = d_kv,
                                  .heads = heads,
                                  .queries = queries,
                                  .keys = keys,
                                  .rows = rows,
                                  .q_stride = inner,
                                  .kv_stride = 2 * inner,
                                  .kv_row_stride = 2 * inner * keys,
                                  .kv_head_stride = shares_keys ? 0 : d_kv,
                                  .bias_head_stride = shares_keys ? 0 : queries * keys,
                                  .bias_row_stride = heads * queries * keys};
    scalar_kernels.attend(NULL, 0, 1, &attention);
    attention.output = actual;
    for (int thread = 0; thread < 2; thread++) kernels->attend(NULL, thread, 2, &attention);
    check(kernels->name, "attention", largest_difference(expected, actual, outputs), 1, 2e-5);
    free(q), free(cache), free(bias), free(expected), free(actual);
}

enum { VOCABULARY = 70, STEP = 4, KEYS = 16, HEADS = 2 };

/* Graphs for tests: the most likely token follows the last one, 5 further on. */
static int follow(void *backend, void *graph) {
    (void)backend;
    struct greedy_step *step = graph;
    float *logits = step->logits;
    for (int64_t i = 0; i < step->tokens; i++) {
        for (int64_t id = 0; id < VOCABULARY; id++) logits[i * VOCABULARY + id] = draw();
        logits[i * VOCABULARY + (step->ids[i] + 5) % VOCABULARY] = 3;
        logits[i * VOCABULARY + 3] = 4; /* its bias lowers it to 2 */
    }
    return 0;
}

static void set_threads(void *backend, int threads) { *(int *)backend = threads; }

/* Decodes with drafts and without; one of the most likely ids may not be generated. */
static void check_greedy(int drafts) {
    int threads = 0;
    float biases[STEP * HEADS * KEYS], table[KEYS * HEADS * KEYS] = {0}, logits[STEP * VOCABULARY];
    float *targets[] = {biases};
    const float *tables[] = {table};
    int32_t ids[STEP];
    int64_t slots[STEP];
    struct greedy_step single = {.ids = ids,
                                 .slots = slots,
                                 .biases = targets,
                                 .logits = logits,
                                 .tokens = 1,
                                 .self_keys = KEYS,
                                 .vocab_rows = VOCABULARY,
                                 .max_runs = 99,
                                 .threads = 1};
    struct greedy_step drafting = single;
    single.graph = &single, drafting.graph = &drafting, drafting.tokens = STEP;
    const int64_t source[] = {5, 10, 15, 20, 26, 1}, suppressed[] = {2, 45}, biased = 3;
    const float bias = -2;
    struct greedy g = {.compute = follow,
                       .set_threads = set_threads,
                       .backend = &threads,
                       .single = &single,
                       .drafting = drafts ? &drafting : NULL,
                       .biases = tables,
                       .source = source,
                       .suppressed = suppressed,
                       .biased = &biased,
                       .bias = &bias,
                       .bias_count = 1,
                       .tables = 1,
                       .heads = HEADS,
                       .row_slots = KEYS,
                       .source_count = sizeof source / sizeof *source,
                       .suppressed_count = 2,
                       .capacity = KEYS,
                       .n_vocab = VOCABULARY,
                       .start = 0,
                       .eos = 1,
                       .seconds = 60,
                       .descriptor = -1};
    float saved[3];
    g.saved = saved;
    int64_t tokens[KEYS + STEP];
    float chosen[KEYS + STEP];
    double totals[KEYS + STEP];
    const int64_t end = t5_run_greedily(&g, 0, KEYS, tokens, chosen, totals);
    int is_right = end == KEYS && threads == 1 && g.is_finite && g.kept == (drafts ? 3 : 0);
    for (int64_t i = 0; i < end; i++) {
        is_right &= tokens[i] == (i < 8 ? 5 * (i + 1) : 3 + 5 * (i - 8));
        is_right &= chosen[i] == (i == 8 ? 4.0F : 3.0F);
    }
    if (!is_right) {
        printf("greedy: %d tokens with %d drafts\n", (int)end, drafts);
        exit(1);
    }
}

int main(void) {
    check_greedy(0), check_greedy(STEP - 1);
    const char *names[] = {"avx512", "avxvnni", "avx2", "neon"};
    const int64_t types[] = {1, 2, 8}, columns[] = {32, 96, 768, 3072};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct kernels *kernels = t5_find_kernels(names[i]);
        if (!kernels) continue;
        for (int64_t count = 1; count <= 27; count += count < 14 ? 1 : 13) {
            for (int t = 0; t < 3; t++) {
                for (int c = 0; c < 4; c++) {
                    check_product(kernels, types[t], 16 * (1 + count % 3), columns[c], count,
                                  (int)(count + c) % 8, 1);
                    check_product(kernels, types[t], 16 * 3 * (1 + count % 2), columns[c], count,
                                  (int)(count + c) % 2 * 4, 3);
                }
            }
            check_attention(kernels, 64 * (1 + count % 2), 1 + count % 4, count, 4 * count, 2, 0);
            check_attention(kernels, 64 * (1 + count % 2), count, 1, 4 * count, 2, 1);
        }
        printf("%s: equal\n", kernels->name);
    }
    return 0;
}
