/* Matrix products on x86 processors with AVX2 and AVX-VNNI: Intel's since Alder Lake, AMD's since
 * Zen 5. */
#if defined(__x86_64__)
#ifdef T5_EVEX /* for tests on processors that have the instruction in AVX-512's form only */
#define TARGET __attribute__((target("avx2,fma,f16c,avx512vl,avx512vnni")))
#define DPBUSD _mm256_dpbusd_epi32
#else
#define TARGET __attribute__((target("avx2,fma,f16c,avxvnni")))
#define DPBUSD _mm256_dpbusd_avx_epi32
#endif
#include "x86_256.h"

#include <cpuid.h>

INLINE int words_per_block(int bits) { return (void)bits, BLOCK / 4; }

INLINE int max_tile(int bits) { return (void)bits, 6; }

INLINE void store_values(int bits, __m256i values, int32_t *words) {
    (void)bits;
    _mm256_storeu_si256((__m256i *)words, values);
}

INLINE void add_products(int bits, __m256i dot[2], const __m256i w[2], const int32_t *word) {
    (void)bits;
    const __m256i x = _mm256_set1_epi32(*word);
    dot[0] = DPBUSD(dot[0], w[0], x);
    dot[1] = DPBUSD(dot[1], w[1], x);
}

INLINE __m256i total(int bits, __m256i dot) { return (void)bits, dot; }

#include "x86_256_product.h"

static int is_supported(void) {
#ifdef T5_EVEX
    return __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#else
    /* CPUID leaf 7.1, EAX bit 4. GCC knows its name in __builtin_cpu_supports since 13 only. */
    unsigned eax = 0, ebx, ecx, edx;
    return x86_avx2_kernels.is_supported() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) &&
           (eax >> 4 & 1);
#endif
}

const struct kernels x86_avxvnni_kernels = {
    .name = "avxvnni",
    .is_supported = is_supported,
    .can_multiply = is_divisible,
    .can_attend = x86_avx2_can_attend,
    .multiply = multiply,
    .attend = x86_avx2_attend,
};
#endif
