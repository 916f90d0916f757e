// Which parameters have an effect with which strategy, as the API's description says it. The
// service refuses the others, so the page does not offer them.

/** Not settings: the input, and how it is sent. */
export const NOT_SETTINGS = new Set(["query", "queries", "stream"]);

/** The generation parameters of a request's schema. */
export class Parameters {
  #schema;

  /** `schema` has the properties of the request's body. */
  constructor(schema) {
    this.#schema = schema;
  }

  /** All settings, in the order in which they are shown. */
  fieldsets() {
    const names = Object.keys(this.#schema);
    const parameters = (filter) => names.filter((name) => this.#isParameter(name) && filter(name));
    const everywhere = parameters((name) => this.#strategies(name).includes("greedy"));
    const sampling = parameters((name) => this.#isOnlyOf(name, "sample"));
    const beams = parameters((name) => !everywhere.includes(name) && !sampling.includes(name));
    return [
      { title: "Beams", names: beams },
      { title: "Sampling", names: sampling },
      { title: "Repetition", names: everywhere },
      { title: "Candidates", names: ["preserve", "min_difference", "include_original"] },
      { title: "Request", names: ["max_tokens", "timeout_ms", "strict", "cache"] },
    ];
  }

  /** What "auto" means for these values; null while they leave it to the model. */
  strategy(values) {
    if (values.strategy !== "auto") return values.strategy;
    const changed = Object.keys(values).filter(
      (name) => this.#isParameter(name) && this.#changes(name, values[name]),
    );
    if (changed.some((name) => this.#isOnlyOf(name, "sample"))) return "sample";
    if (changed.some((name) => this.#isOnlyOf(name, "diverse_beam"))) return "diverse_beam";
    if (changed.some((name) => !this.#strategies(name).includes("greedy"))) {
      return values.n > 1 ? "diverse_beam" : "beam";
    }
    return null;
  }

  /** Whether a parameter has an effect; where "auto" decides, whether it would join the others. */
  applies(name, values) {
    if (name === "n") return values.strategy !== "greedy";
    if (!this.#isParameter(name)) return true;
    const strategy = this.strategy(values);
    if (strategy === null) return true;
    const strategies = this.#strategies(name);
    return (
      strategies.includes(strategy) ||
      (values.strategy === "auto" && strategy === "beam" && strategies.includes("diverse_beam"))
    );
  }

  #isParameter(name) {
    return "x-strategies" in (this.#schema[name] ?? {});
  }

  #strategies(name) {
    return this.#schema[name]["x-strategies"];
  }

  #isOnlyOf(name, strategy) {
    return this.#strategies(name).every((one) => one === strategy);
  }

  /** A parameter without a neutral value, as the seed, asks for no strategy. */
  #changes(name, value) {
    const neutral = this.#schema[name]["x-neutral"];
    return value !== undefined && neutral.length > 0 && !neutral.includes(value);
  }
}
