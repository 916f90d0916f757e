/* Packs the rows of a quantised matrix as all kernels read them: see kernels.h. */
#include "kernels.h"

#include <string.h>

/* Bytes of a group's block without its scales. */
size_t t5_block_size(int64_t type) {
    return (size_t)(type == Q4_0 ? GROUP * BLOCK / 2 : GROUP * BLOCK);
}

/* Packs ggml's row-major blocks; each is an F16 scale followed by the weights. */
void t5_pack(int64_t type, int64_t rows, int64_t columns, const uint8_t *source, uint8_t *target) {
    const int64_t blocks = columns / BLOCK;
    const size_t block_size = t5_block_size(type), weight_bytes = block_size / GROUP;
    const uint32_t sign_bits = type == Q8_0 ? 0x80808080u : 0; /* flipping adds 128 to each of 4 */
    for (int64_t row = 0; row < rows; row++) {
        uint8_t *group = target + row / GROUP * blocks * (block_size + SCALE_BYTES);
        uint8_t *scales = group + blocks * block_size;
        const size_t lane = row % GROUP;
        for (int64_t block = 0; block < blocks; block++) {
            memcpy(scales + block * SCALE_BYTES + 2 * lane, source, 2);
            for (size_t i = 0; i < weight_bytes; i += 4) {
                uint32_t word;
                memcpy(&word, source + 2 + i, 4);
                word ^= sign_bits;
                memcpy(group + block * block_size + GROUP * i + 4 * lane, &word, 4);
            }
            source += 2 + weight_bytes;
        }
    }
}
