/* Attention as an operation of a graph. The including file defines before:
 *   TARGET          the attribute that names its instruction sets
 *   ATTEND          the name of the function
 *   compute_scores  scores[key] = q . k[key] + bias[key]
 *   exponentiate    scores[key] = exp(scores[key] - max(scores)); returns their sum
 *   weighted_sum    output = sum over the keys of scores[key] / sum * v[key]
 *   attend_tiles    does the work for the first queries of a head; returns how many
 * It is a ggml_custom_op_t; the heads of all rows are divided among the threads. */
TARGET void ATTEND(void *tensor, int thread, int threads, void *attention) {
    (void)tensor;
    static _Thread_local float scores[MAX_KEYS];
    const struct attention *a = attention;
    const int64_t tasks = a->rows * a->heads, inner = a->heads * a->d_kv;
    for (int64_t task = tasks * thread / threads; task < tasks * (thread + 1) / threads; task++) {
        const int64_t row = task / a->heads, head = task % a->heads;
        const int64_t kv_offset = row * a->kv_row_stride + head * a->d_kv;
        const float *bias = a->bias + row * a->bias_row_stride + head * a->bias_head_stride;
        const int64_t first = row * a->queries;
        const int64_t tiled =
            attend_tiles(a, a->q + first * a->q_stride + head * a->d_kv, a->k + kv_offset,
                         a->v + kv_offset, bias, a->output + first * inner + head * a->d_kv);
        for (int64_t query = tiled; query < a->queries; query++) {
            const int64_t token = row * a->queries + query;
            const float *q = a->q + token * a->q_stride + head * a->d_kv;
            compute_scores(a, q, a->k + kv_offset, bias + query * a->keys, scores);
            const float sum = exponentiate(scores, a->keys);
            float *output = a->output + token * inner + head * a->d_kv;
            weighted_sum(a, scores, sum, a->v + kv_offset, output);
        }
    }
}
