// The request as code, to copy.
import { hasKey } from "./api.js";
import { copyFor } from "./clipboard.js";
import { element } from "./dom.js";
import { SNIPPETS } from "./snippets.js";

/** A disclosure with a choice of languages; `request` gives {query, settings, model}. */
export class Code {
  #request;
  #text = element("code");
  #kinds;

  constructor(request, name) {
    this.#request = request;
    this.#kinds = Object.keys(SNIPPETS).map((kind, index) =>
      element("input", { type: "radio", name: `${name}-code`, value: kind, checked: index === 0 }),
    );
    const choices = this.#kinds.map((kind) =>
      element("label", { className: "choice" }, kind, element("span", {}, kind.value)),
    );
    const button = element("button", { type: "button", className: "quiet" }, "Copy");
    button.addEventListener("click", () => copyFor(button, this.#text.textContent));
    this.root = element(
      "details",
      { className: "more code" },
      element("summary", {}, "Copy as code"),
      element(
        "div",
        { className: "buttons" },
        element(
          "div",
          { className: "choices", role: "radiogroup", "aria-label": "Kind of code" },
          ...choices,
        ),
        button,
      ),
      element("pre", {}, this.#text),
    );
    this.root.addEventListener("input", (event) => {
      event.stopPropagation();
      this.update();
    });
    this.root.addEventListener("toggle", () => this.update());
  }

  /** Writes the code anew, if it can be seen. */
  update() {
    if (!this.root.open) return;
    const { query, settings, model } = this.#request();
    const kind = this.#kinds.find((one) => one.checked).value;
    const base = new URL("./", location.href).href;
    const body = { query: query || "your query", ...settings };
    this.#text.textContent = SNIPPETS[kind]({ base, body, model, withKey: hasKey() });
  }
}
