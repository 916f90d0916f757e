/* The product as an operation of a graph. The including file defines before:
 *   TARGET             the attribute that names its instruction sets
 *   INLINE             static inline, with that attribute
 *   BUFFER_SIZE        values that a struct quantised holds
 *   transform_input    returns an input row after norm and ReLU
 *   quantise           quantises a row in blocks of 32 into a struct quantised, as the n-th of some
 *   multiply_tile      multiplies a packed group by some input rows; returns how many
 *   F16_TILE           input rows that multiply_four_rows takes at most
 *   multiply_four_rows multiplies four matrix rows of F16 by 1 or F16_TILE input rows
 */
enum { F16_BUFFER_SIZE = 4 * MAX_COLUMNS }; /* values of input rows of F16 at once */

/* Multiplies a part of the matrix, or some of its groups, by that part of each input row. */
INLINE void multiply_packed(int bits, const struct product *p, int64_t part, int64_t first_group,
                            int64_t end_group) {
    static _Thread_local struct quantised quantised;
    static _Thread_local float transformed[MAX_COLUMNS];
    const struct matrix *m = p->matrix;
    const int64_t blocks = m->columns / BLOCK, stride = group_bytes(m->format, m->columns);
    const int64_t capacity = BUFFER_SIZE / m->columns; /* input rows */
    for (int64_t start = 0; start < p->count; start += capacity) {
        const int64_t count = p->count - start < capacity ? p->count - start : capacity;
        for (int64_t n = 0; n < count; n++) {
            const float *input = transform_input(p, (start + n) * p->parts + part, transformed);
            quantise(bits, input, blocks, m->format->zero_point, n, count, &quantised);
        }
        for (int64_t group = first_group; group < end_group; group++) {
            const uint8_t *data = m->data + group * stride;
            for (int64_t n = 0; n < count;) {
                n += multiply_tile(bits, data, blocks, &quantised, n, count - n,
                                   output_at(p, start + n, group * GROUP));
            }
        }
    }
}

/* The same for F16. */
TARGET static void multiply_f16(const struct product *p, int64_t part, int64_t first_group,
                                int64_t end_group) {
    static _Thread_local float transformed[F16_BUFFER_SIZE];
    const int64_t columns = p->matrix->columns, capacity = F16_BUFFER_SIZE / columns;
    for (int64_t start = 0; start < p->count; start += capacity) {
        const int64_t count = p->count - start < capacity ? p->count - start : capacity;
        const float *input[F16_BUFFER_SIZE / BLOCK];
        for (int64_t n = 0; n < count; n++) {
            const int64_t input_row = (start + n) * p->parts + part;
            input[n] = transform_input(p, input_row, transformed + n * columns);
        }
        for (int64_t row = GROUP * first_group; row < GROUP * end_group; row += 4) {
            const uint8_t *weights = p->matrix->data + 2 * row * columns;
            for (int64_t n = 0; n < count;) {
                const struct output_tile tile = output_at(p, start + n, row);
                if (count - n >= F16_TILE) { /* constants: each is compiled for itself */
                    multiply_four_rows(weights, columns, input + n, F16_TILE, tile);
                    n += F16_TILE;
                } else {
                    multiply_four_rows(weights, columns, input + n, 1, tile);
                    n++;
                }
            }
        }
    }
}

/* A ggml_custom_op_t. The matrix rows are divided among the threads. */
TARGET static void multiply(void *tensor, int thread, int threads, void *product) {
    (void)tensor;
    const struct product *p = product;
    const int64_t groups = p->matrix->rows / GROUP, part_groups = groups / p->parts;
    const int64_t first = groups * thread / threads, end = groups * (thread + 1) / threads;
    for (int64_t start = first, part_end; start < end; start = part_end) {
        const int64_t part = start / part_groups;
        part_end = (part + 1) * part_groups < end ? (part + 1) * part_groups : end;
        switch (p->matrix->format->bits) { /* constants: each is compiled for itself */
        case 4:
            multiply_packed(4, p, part, start, part_end);
            break;
        case 8:
            multiply_packed(8, p, part, start, part_end);
            break;
        default:
            multiply_f16(p, part, start, part_end);
        }
    }
}
