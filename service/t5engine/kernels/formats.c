/* The formats of weights, and how matrices are packed: see kernels.h. */
#include "kernels.h"

#include <string.h>

static const struct format FORMATS[] = {
    {.type = 1, .bits = 16},                                    /* F16 */
    {.type = 2, .bits = 4, .zero_point = 8},                    /* Q4_0 */
    {.type = 8, .bits = 8, .zero_point = 128, .flipped = 0x80}, /* Q8_0: flipping adds 128 */
};

/* Returns the format of a ggml_type; NULL if there are no kernels for it. */
const struct format *t5_find_format(int64_t type) {
    for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
        if (FORMATS[i].type == type) return FORMATS + i;
    }
    return NULL;
}

/* Packs ggml's row-major blocks; each is an F16 scale followed by the weights. */
void t5_pack(const struct format *format, int64_t rows, int64_t columns, const uint8_t *source,
             uint8_t *target) {
    const int64_t weight_bytes = BLOCK * format->bits / 8;
    const uint32_t flipped = format->flipped * 0x01010101u;
    for (int64_t row = 0; row < rows; row++) {
        uint8_t *block = target + row / GROUP * group_bytes(format, columns);
        const int64_t lane = row % GROUP;
        for (int64_t column = 0; column < columns;
             column += BLOCK, block += block_bytes(format->bits)) {
            memcpy(block + format->bits * VECTOR_BYTES + 2 * lane, source, 2);
            for (int64_t i = 0; i < weight_bytes; i += 4) {
                uint32_t word;
                memcpy(&word, source + 2 + i, 4);
                word ^= flipped;
                memcpy(block + GROUP * i + 4 * lane, &word, 4);
            }
            source += 2 + weight_bytes;
        }
    }
}
