// The request as code, for copying.
import { hasKey } from "./api.js";
import { copyFor } from "./clipboard.js";
import { element } from "./dom.js";
import { SNIPPETS } from "./snippets.js";

/** A disclosure with a choice of clients; `getRequest` returns {query, settings, model}. */
export class Code {
  #getRequest;
  #text = element("code");
  #clients;

  constructor(getRequest, name) {
    this.#getRequest = getRequest;
    this.#clients = Object.keys(SNIPPETS).map((client, index) =>
      element("input", {
        type: "radio",
        name: `${name}-code`,
        value: client,
        checked: index === 0,
      }),
    );
    const choices = this.#clients.map((radio) =>
      element("label", { className: "choice" }, radio, element("span", {}, radio.value)),
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

  /** Updates the code while the disclosure is open. */
  update() {
    if (!this.root.open) return;
    const { query, settings, model } = this.#getRequest();
    const client = this.#clients.find((radio) => radio.checked).value;
    const base = new URL("./", location.href).href;
    const body = { query: query || "your query", ...settings };
    this.#text.textContent = SNIPPETS[client]({ base, body, model, withKey: hasKey() });
  }
}
