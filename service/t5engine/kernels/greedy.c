/* Decodes a sequence greedily, step after step, without Python in between.
 *
 * Between two steps Python takes little time in a loop of its own, but much more after a step: the
 * weights that the step has read are in the processor's caches then, and Python is not.
 *
 * What is unusual is left to Python: a run ends before a step whose logits are not finite, and the
 * step is done again.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, poll */
#include "kernels.h"

#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

enum { MAX_NGRAM = 3 }; /* as t5engine.worker.prompt_lookup */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static bool has_message(int descriptor) {
    struct pollfd entry = {descriptor, POLLIN, 0};
    return poll(&entry, 1, 0) != 0;
}

static bool contains(const int64_t *ids, int64_t count, int64_t id) {
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] == id) return true;
    }
    return false;
}

/* Drafts tokens as t5engine.worker.prompt_lookup.draft does: those that follow the first occurrence
 * of the longest n-gram in the input that ends the sequence; </s> where the input ends before.
 * Returns whether there is such an n-gram. */
static bool draft(const struct greedy *g, const int64_t *tokens, int64_t decoded, int32_t *drafted,
                  int64_t count) {
    const int64_t longest = decoded < MAX_NGRAM ? decoded : MAX_NGRAM;
    for (int64_t size = longest; size > 0; size--) {
        const int64_t *ngram = tokens + decoded - size;
        for (int64_t start = 0; start + size < g->source_count; start++) {
            if (memcmp(g->source + start, ngram, (size_t)size * sizeof *ngram) != 0) continue;
            const int64_t *next = g->source + start + size, *end = g->source + g->source_count;
            for (int64_t i = 0; i < count; i++) {
                drafted[i] = (int32_t)(next + i < end ? next[i] : g->eos);
            }
            return true;
        }
    }
    return false;
}

/* Computes the graph of a step whose ids are filled, at this position of the sequence. Returns
 * ggml's status. */
static int compute(const struct greedy *g, struct greedy_step *step, int64_t position) {
    for (int64_t token = 0; token < step->tokens; token++) {
        step->slots[token] = position + token;
        for (int64_t table = 0; table < g->tables; table++) {
            for (int64_t head = 0; head < g->heads; head++) {
                const float *bias =
                    g->biases[table] + ((position + token) * g->heads + head) * g->row_slots;
                float *target =
                    step->biases[table] + (head * step->tokens + token) * step->self_keys;
                memcpy(target, bias, (size_t)step->self_keys * sizeof *bias);
            }
        }
    }
    g->set_threads(g->backend, step->threads);
    const double started = now();
    const int status = g->compute(g->backend, step->graph);
    step->seconds += now() - started;
    step->runs++;
    return status;
}

/* Returns the most likely token after bias and suppression, which leave no trace in the logits. */
static int64_t find_most_likely(const struct greedy *g, float *logits) {
    int64_t token = t5_find_highest(logits, g->n_vocab);
    if (!g->bias_count && !contains(g->suppressed, g->suppressed_count, token)) return token;
    float *suppressed = g->saved, *biased = g->saved + g->suppressed_count;
    for (int64_t i = 0; i < g->bias_count; i++) {
        biased[i] = logits[g->biased[i]];
        logits[g->biased[i]] += g->bias[i];
    }
    for (int64_t i = 0; i < g->suppressed_count; i++) {
        suppressed[i] = logits[g->suppressed[i]];
        logits[g->suppressed[i]] = -INFINITY;
    }
    token = t5_find_highest(logits, g->n_vocab);
    if (logits[token] == -INFINITY) token = g->eos; /* all are suppressed */
    for (int64_t i = 0; i < g->suppressed_count; i++) logits[g->suppressed[i]] = suppressed[i];
    for (int64_t i = 0; i < g->bias_count; i++) logits[g->biased[i]] = biased[i];
    return token;
}

/* Chooses the tokens that follow a computed step: one, and one for each drafted token that is equal
 * to the choice before. Returns how many; 0 if a logit is not finite. */
static int64_t choose(const struct greedy *g, const struct greedy_step *step, int64_t room,
                      int64_t *tokens, float *logits, double *log_totals) {
    for (int64_t i = 0; i < step->tokens; i++) {
        if (!t5_are_finite(step->logits + i * step->vocab_rows, g->n_vocab)) return 0;
    }
    for (int64_t i = 0;; i++) {
        float *row = step->logits + i * step->vocab_rows;
        tokens[i] = find_most_likely(g, row);
        logits[i] = row[tokens[i]];
        log_totals[i] = t5_log_sum_exp(row, g->n_vocab);
        const bool is_last = tokens[i] == g->eos || i + 1 == room || i + 1 == step->tokens;
        if (is_last || tokens[i] != step->ids[i + 1]) return i + 1;
    }
}

/* Decodes until the sequence ends, has `limit` tokens, or needs Python.
 *
 * tokens, logits, log_totals: `limit` values and as many as are drafted; of tokens the first
 * `decoded` are there. The decoder's next input is the last of them, or the start token.
 *
 * Returns how many tokens there are then; -1 if ggml reports a failure. */
int64_t t5_run_greedily(struct greedy *g, int64_t decoded, int64_t limit, int64_t *tokens,
                        float *logits, double *log_totals) {
    const double ends = now() + g->seconds;
    g->is_finite = 1;
    while (decoded < limit) {
        struct greedy_step *step = g->drafting;
        const bool has_room = step && decoded + step->tokens <= g->capacity && decoded + 1 < limit;
        if (!has_room || !draft(g, tokens, decoded, step->ids + 1, step->tokens - 1)) {
            step = g->single;
        }
        if (decoded + step->tokens > step->self_keys || step->runs == step->max_runs) break;
        step->ids[0] = (int32_t)(decoded ? tokens[decoded - 1] : g->start);
        if (compute(g, step, decoded) != 0) return -1;
        const int64_t chosen = choose(g, step, limit - decoded, tokens + decoded, logits + decoded,
                                      log_totals + decoded);
        g->is_finite = chosen > 0;
        if (!g->is_finite) break;
        g->drafted += step->tokens - 1;
        g->kept += chosen - 1;
        decoded += chosen;
        if (tokens[decoded - 1] == g->eos || has_message(g->descriptor) || now() > ends) break;
    }
    return decoded;
}
