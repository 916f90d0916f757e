// Reads figures from Prometheus's text format.

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Reads the figures that the page shows: sums over models, and over routes that generate. */
export function readSnapshot(text, at) {
	const snapshot = {
		at,
		restarts: 0,
		waiting: 0,
		running: 0,
		requests: 0,
		buckets: new Map(),
	};
	for (const line of text.split("\n")) {
		const [, name, labelled = "", number] = LINE.exec(line) ?? [];
		const value = Number(number);
		if (name in GAUGES) snapshot[GAUGES[name]] += value;
		if (name !== "t5serve_request_seconds_bucket") continue;
		const labels = Object.fromEntries(
			Array.from(labelled.matchAll(LABEL), ([, label, value]) => [label, value]),
		);
		if (!GENERATING.has(labels.route)) continue;
		const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
		snapshot.buckets.set(bound, (snapshot.buckets.get(bound) ?? 0) + value);
		if (bound === Infinity) snapshot.requests += value;
	}
	return snapshot;
}

const GAUGES = {
	t5serve_worker_restarts: "restarts",
	t5serve_queue_depth: "waiting",
	t5serve_running: "running",
};
const GENERATING = new Set(["/v1/reformulate", "/v1/completions", "/v1/chat/completions"]);

/** Returns {requests, quantile} between two snapshots; quantile(share) is a duration. */
export function compareSnapshots(older, newer) {
	const counts = [...newer.buckets.entries()]
		.sort(([bound], [otherBound]) => bound - otherBound)
		.map(([bound, count]) => [bound, count - (older.buckets.get(bound) ?? 0)]);
	const requests = newer.requests - older.requests;
	return { requests, quantile: (share) => quantile(counts, share) };
}

/**
 * Interpolates a quantile linearly within its bucket, as Prometheus does.
 *
 * Returns {seconds, isLowerBound}; the last bucket has only a lower bound.
 */
function quantile(counts, share) {
	const total = counts.at(-1)?.[1] ?? 0;
	if (total <= 0) return null;
	let [lowerBound, countBelow] = [0, 0];
	for (const [bound, count] of counts) {
		if (count >= share * total) {
			if (bound === Infinity) return { seconds: lowerBound, isLowerBound: true };
			const fraction = (share * total - countBelow) / (count - countBelow);
			return { seconds: lowerBound + (bound - lowerBound) * fraction };
		}
		[lowerBound, countBelow] = [bound, count];
	}
	return null;
}
