/* Finds the kernels for the processor.
 *
 * A new instruction set is a file of its own that defines a struct kernels, and a line in
 * CANDIDATES.
 */
#include "kernels.h"

#include <string.h>

/* The best first; the scalar ones only by their name. */
static const struct kernels *const CANDIDATES[] = {
#if defined(__x86_64__)
    &x86_avx512_kernels,
    &x86_avxvnni_kernels,
    &x86_avx2_kernels,
#elif defined(__aarch64__)
    &arm_neon_kernels,
#endif
    &scalar_kernels,
};

const size_t t5_struct_sizes[6] = {sizeof(struct format),      sizeof(struct matrix),
                                   sizeof(struct product),     sizeof(struct attention),
                                   sizeof(struct greedy_step), sizeof(struct greedy)};

/* Returns the kernels of this name, or the best for "auto"; NULL if the processor lacks them. */
const struct kernels *t5_find_kernels(const char *name) {
    const int is_auto = strcmp(name, "auto") == 0;
    for (size_t i = 0; i < sizeof CANDIDATES / sizeof *CANDIDATES; i++) {
        const struct kernels *candidate = CANDIDATES[i];
        const int is_wanted =
            is_auto ? candidate != &scalar_kernels : strcmp(name, candidate->name) == 0;
        if (is_wanted && candidate->is_supported()) return candidate;
    }
    return NULL;
}
