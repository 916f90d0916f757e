// Figures from Prometheus's text format.

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** What the page shows of /metrics: sums over the routes that generate. */
export function snapshot(text, at) {
  const taken = {
    at,
    ready: 0,
    restarts: 0,
    waiting: 0,
    running: 0,
    requests: 0,
    buckets: new Map(),
  };
  for (const line of text.split("\n")) {
    const [, name, labelled = "", number] = LINE.exec(line) ?? [];
    const value = Number(number);
    if (name === "t5serve_ready") taken.ready = value;
    if (name === "t5serve_worker_restarts") taken.restarts = value;
    if (name === "t5serve_queue_depth") taken.waiting = value;
    if (name === "t5serve_running") taken.running = value;
    if (name !== "t5serve_request_seconds_bucket") continue;
    const labels = Object.fromEntries(
      Array.from(labelled.matchAll(LABEL), ([, key, of]) => [key, of]),
    );
    if (!GENERATING.has(labels.route)) continue;
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    taken.buckets.set(bound, (taken.buckets.get(bound) ?? 0) + value);
    if (bound === Infinity) taken.requests += value;
  }
  return taken;
}

const GENERATING = new Set(["/v1/reformulate", "/v1/completions", "/v1/chat/completions"]);

/** What happened between two snapshots: requests, and quantiles in seconds. */
export function between(older, newer) {
  const counts = [...newer.buckets.entries()]
    .sort(([one], [other]) => one - other)
    .map(([bound, count]) => [bound, count - (older.buckets.get(bound) ?? 0)]);
  const requests = newer.requests - older.requests;
  return { requests, quantile: (share) => quantile(counts, share) };
}

/** Within its bucket a quantile is taken to lie in proportion, as Prometheus does. */
function quantile(counts, share) {
  const total = counts.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  let [low, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= share * total) {
      if (bound === Infinity) return { seconds: low, isLeast: true };
      return { seconds: low + ((bound - low) * (share * total - below)) / (count - below) };
    }
    [low, below] = [bound, count];
  }
  return null;
}
