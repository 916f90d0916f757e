/* Chooses the kernels for the processor, once, at the first call.
 *
 * A new instruction set is a file of its own that defines a struct kernels, and a line in CANDIDATES:
 * the best first.
 */
#include "kernels.h"

static const struct kernels *const CANDIDATES[] = {
#if defined(__x86_64__)
    &x86_avx512_kernels,
#endif
    NULL,
};

/* Returns the first candidate that the processor supports; NULL if there is none. */
static const struct kernels *select_kernels(void) {
    static const struct kernels *selected;
    static int is_selected; /* a race selects the same twice */
    if (!is_selected) {
        const struct kernels *const *candidate = CANDIDATES;
        while (*candidate && !(*candidate)->is_supported()) candidate++;
        selected = *candidate;
        is_selected = 1;
    }
    return selected;
}

int t5_can_multiply(int64_t type, int64_t rows, int64_t columns) {
    const struct kernels *kernels = select_kernels();
    return kernels && kernels->can_multiply(type, rows, columns);
}

int t5_can_attend(int64_t d_kv, int64_t keys) {
    const struct kernels *kernels = select_kernels();
    return kernels && kernels->can_attend(d_kv, keys);
}

/* Only called after t5_can_multiply said yes. */
void t5_multiply(void *tensor, int thread, int threads, void *product) {
    select_kernels()->multiply(tensor, thread, threads, product);
}

/* Only called after t5_can_attend said yes. */
void t5_attend(void *tensor, int thread, int threads, void *attention) {
    select_kernels()->attend(tensor, thread, threads, attention);
}
