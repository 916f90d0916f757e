// Which parameters have an effect with which strategy. The service refuses the others, so the
// page does not offer them.

const SAMPLING = ["temperature", "top_k", "top_p", "min_p"];
const BEAMS = ["num_beams", "length_penalty"];
const GROUPS = ["num_beam_groups", "diversity_penalty"];
const BELONGS = {
  greedy: [],
  sample: [...SAMPLING, "seed"],
  beam: BEAMS,
  diverse_beam: [...BEAMS, ...GROUPS],
};
const OF_STRATEGIES = new Set(Object.values(BELONGS).flat());
/** Values at which a parameter is as good as absent. */
const NEUTRAL = {
  num_beams: [1],
  num_beam_groups: [1],
  length_penalty: [1],
  diversity_penalty: [0],
  temperature: [0, 1],
  top_k: [0],
  top_p: [1],
  min_p: [0],
};

/** In the order in which they are shown. */
export const FIELDSETS = [
  { title: "Beams", names: [...BEAMS, ...GROUPS] },
  { title: "Sampling", names: [...SAMPLING, "seed"] },
  { title: "Repetition", names: ["repetition_penalty", "no_repeat_ngram_size"] },
  { title: "Candidates", names: ["preserve", "min_difference", "include_original"] },
  { title: "Request", names: ["max_tokens", "timeout_ms", "strict", "cache"] },
];
/** Not settings: the input, and how it is sent. */
export const NOT_SETTINGS = new Set(["query", "queries", "stream"]);

/** What "auto" means for these values; null while they leave it to the model. */
export function meant(values) {
  if (values.strategy !== "auto") return values.strategy;
  const given = (names) =>
    names.some((name) => values[name] !== undefined && !NEUTRAL[name].includes(values[name]));
  if (given(SAMPLING)) return "sample";
  if (given(GROUPS)) return "diverse_beam";
  if (given(BEAMS)) return values.n > 1 ? "diverse_beam" : "beam";
  return null;
}

/** Whether a parameter has an effect; where "auto" decides, whether it would join the others. */
export function applies(name, values) {
  if (name === "n") return values.strategy !== "greedy";
  if (!OF_STRATEGIES.has(name)) return true;
  const strategy = meant(values);
  if (strategy === null) return true;
  const names = BELONGS[strategy];
  return (
    names.includes(name) ||
    (values.strategy === "auto" && strategy === "beam" && GROUPS.includes(name))
  );
}
