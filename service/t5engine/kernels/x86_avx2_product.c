/* Matrix products on x86 processors with AVX2, FMA and F16C: all since Haswell and Zen.
 *
 * The instruction that multiplies bytes adds two products in 16 bits. That holds eight sums of two
 * products by a weight of 4 bits, so that a block needs one conversion to 32 bits. Weights of 8
 * bits are split into two of 16 bits, which the inputs are already: even bytes and odd bytes.
 */
#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma,f16c")))
#include "x86_256.h"

INLINE int words_per_block(int bits) { return bits == 4 ? BLOCK / 4 : BLOCK / 2; }

INLINE int max_tile(int bits) { return bits == 4 ? 6 : 4; }

INLINE void store_values(int bits, __m256i values, int32_t *words) {
    if (bits == 4) {
        _mm256_storeu_si256((__m256i *)words, values);
    } else {
        const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(values, 8), 8);
        _mm256_storeu_si256((__m256i *)words, even);
        _mm256_storeu_si256((__m256i *)words + 1, _mm256_srai_epi16(values, 8));
    }
}

INLINE void add_products(int bits, __m256i dot[2], const __m256i w[2], const int32_t *word) {
    const __m256i x = _mm256_set1_epi32(*word), even_bytes = _mm256_set1_epi16(255);
    for (int half = 0; half < 2 && bits == 4; half++) {
        dot[half] = _mm256_add_epi16(dot[half], _mm256_maddubs_epi16(w[half], x));
    }
    for (int half = 0; half < 2 && bits == 8; half++) {
        const __m256i odd = _mm256_set1_epi32(word[BLOCK / 4]);
        const __m256i products = _mm256_madd_epi16(_mm256_and_si256(w[half], even_bytes), x);
        dot[half] = _mm256_add_epi32(dot[half], products);
        dot[half] =
            _mm256_add_epi32(dot[half], _mm256_madd_epi16(_mm256_srli_epi16(w[half], 8), odd));
    }
}

INLINE __m256i total(int bits, __m256i dot) {
    return bits == 4 ? _mm256_madd_epi16(dot, _mm256_set1_epi16(1)) : dot;
}

#include "x86_256_product.h"

static int is_supported(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}

const struct kernels x86_avx2_kernels = {
    .name = "avx2",
    .is_supported = is_supported,
    .can_multiply = is_divisible,
    .can_attend = x86_avx2_can_attend,
    .multiply = multiply,
    .attend = x86_avx2_attend,
};
#endif
