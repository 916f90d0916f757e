/* Attention as an operation of a graph. The including file defines before:
 *   TARGET          the attribute that names its instruction sets
 *   ATTEND          the name of the function
 *   QUERIES_AT_ONCE queries that compute_scores and weighted_sum take: the most, a power of two
 *   compute_scores  scores[key] = q . k[key] + bias[key], of some queries over the same keys
 *   exponentiate    scores[key] = exp(scores[key] - max(scores)); returns their sum
 *   weighted_sum    output = sum over the keys of scores[key] / sum * v[key], of the same queries
 *   attend_tiles    does the work for the first queries of a head; returns how many
 * It is a ggml_custom_op_t; the heads of all rows are divided among the threads. The result of a
 * query does not depend on how many are computed at once. */
/* Attends with `count` queries over the same keys. */
TARGET static void attend_queries(const struct attention *a, int64_t count, struct queries queries,
                                  const float *k, const float *v) {
    static _Thread_local float scores[QUERIES_AT_ONCE * SCORE_STRIDE];
    for (int64_t query = 0, size; query < count; query += size) {
        size = QUERIES_AT_ONCE;
        while (size > count - query) size /= 2;
        float sums[QUERIES_AT_ONCE];
        compute_scores(a, size, queries, k, scores);
        for (int64_t n = 0; n < size; n++) {
            sums[n] = exponentiate(scores + n * SCORE_STRIDE, a->keys);
        }
        weighted_sum(a, size, scores, sums, v, queries);
        queries.q += size * queries.q_stride;
        queries.bias += size * queries.bias_stride;
        queries.output += size * queries.output_stride;
    }
}

TARGET void ATTEND(void *tensor, int thread, int threads, void *attention) {
    (void)tensor;
    const struct attention *a = attention;
    const int64_t tasks = a->rows * a->heads, inner = a->heads * a->d_kv;
    const int64_t end = tasks * (thread + 1) / threads;
    const int shares_keys = a->queries == 1 && a->kv_head_stride == 0 && a->bias_head_stride == 0;
    for (int64_t task = tasks * thread / threads, heads; task < end; task += heads) {
        const int64_t row = task / a->heads, head = task % a->heads;
        const int64_t kv_offset = row * a->kv_row_stride + head * a->kv_head_stride;
        const int64_t first = row * a->queries;
        const float *k = a->k + kv_offset, *v = a->v + kv_offset;
        struct queries queries = {
            .q = a->q + first * a->q_stride + head * a->d_kv,
            .bias = a->bias + row * a->bias_row_stride + head * a->bias_head_stride,
            .output = a->output + first * inner + head * a->d_kv,
            .q_stride = a->q_stride,
            .bias_stride = a->keys,
            .output_stride = inner,
        };
        heads = 1;
        if (shares_keys) { /* the heads are queries over the same keys */
            heads = a->heads - head < end - task ? a->heads - head : end - task;
            queries.q_stride = queries.output_stride = a->d_kv;
            queries.bias_stride = 0;
            attend_queries(a, heads, queries, k, v);
            continue;
        }
        const int64_t tiled = attend_tiles(a, queries.q, k, v, queries.bias, queries.output);
        queries.q += tiled * queries.q_stride;
        queries.bias += tiled * queries.bias_stride;
        queries.output += tiled * queries.output_stride;
        attend_queries(a, a->queries - tiled, queries, k, v);
    }
}
