// The panel of parameters, made from the API's own description of them.
import { element } from "./dom.js";
import { NOT_SETTINGS, Parameters } from "./parameters.js";

/** One panel; tells of changes with a "change" event on its root. */
export class Settings {
  #schema;
  #parameters;
  #fields = new Map();
  #tasks = element("div", { className: "choices" });
  #means = element("p", { className: "means muted" });
  #summary = element("span", { className: "muted" });
  #more;
  #model = { tasks: {}, generation: {} };

  /** `schema` has the properties of the request's body, `name` tells two panels apart. */
  constructor(schema, name) {
    this.#schema = schema;
    this.#parameters = new Parameters(schema);
    this.name = name;
    for (const field of Object.keys(schema)) {
      if (NOT_SETTINGS.has(field) || field === "task") continue;
      this.#fields.set(field, makeField(field, schema[field], `${name}-${field}`));
    }
    const first = ["n", "strategy"];
    const fieldsets = this.#parameters.fieldsets();
    const placed = new Set([...first, ...fieldsets.flatMap(({ names }) => names)]);
    const unplaced = [...this.#fields.keys()].filter((field) => !placed.has(field));
    const sets = [...fieldsets, { title: "Other", names: unplaced }];
    this.#more = element(
      "details",
      { className: "more" },
      element("summary", {}, "Parameters", this.#summary),
      element("div", { className: "sets" }, ...sets.map((set) => this.#fieldset(set))),
      element(
        "div",
        { className: "buttons" },
        element(
          "button",
          { type: "button", className: "quiet", onclick: () => this.set({}) },
          "Reset",
        ),
      ),
    );
    this.root = element(
      "div",
      { className: "settings" },
      element(
        "div",
        { className: "first" },
        element(
          "fieldset",
          { className: "task", hidden: true },
          element("legend", {}, "task"),
          this.#tasks,
        ),
        ...first.map((field) => this.#fields.get(field).row),
      ),
      this.#means,
      this.#more,
    );
    this.root.addEventListener("input", () => this.#changed());
    this.#changed();
  }

  /** Offers the model's tasks, and shows its defaults. */
  describe(model) {
    const chosen = this.task;
    this.#model = model;
    this.#tasks.replaceChildren(
      ...Object.keys(model.tasks).map((task, index) =>
        element(
          "label",
          { className: "choice" },
          element("input", {
            type: "radio",
            name: `${this.name}-task`,
            value: task,
            checked: chosen in model.tasks ? task === chosen : index === 0,
          }),
          element("span", {}, task),
        ),
      ),
    );
    this.#tasks.parentElement.hidden = false;
    for (const [field, { input, isNumber }] of this.#fields) {
      if (isNumber)
        input.placeholder = model.generation[field] ?? this.#schema[field].default ?? "default";
    }
    this.#fields.get("max_tokens").input.max = model.max_tokens;
    this.#changed();
  }

  get task() {
    return this.#tasks.querySelector(":checked")?.value;
  }

  /** What differs from the defaults, as the request has it. */
  values() {
    const values = {};
    const all = this.#all();
    for (const [field, value] of Object.entries(all)) {
      if (value === undefined || !this.#parameters.applies(field, all)) continue;
      if (!isDefault(value, this.#schema[field].default)) values[field] = value;
    }
    const [first] = Object.keys(this.#model.tasks);
    if (this.task && this.task !== first) values.task = this.task;
    return values;
  }

  /** Takes what `values` gave; the rest becomes the default. */
  set(values) {
    for (const [field, one] of this.#fields)
      one.write(values[field] ?? this.#schema[field].default);
    const [first] = Object.keys(this.#model.tasks);
    for (const radio of this.#tasks.querySelectorAll("input")) {
      radio.checked = radio.value === (values.task ?? first);
    }
    this.#changed();
  }

  /** Shows the first field whose content is no value, if there is one. */
  refuse() {
    for (const { input, row } of this.#fields.values()) {
      if (row.hidden || input.disabled || !input.checkValidity || input.checkValidity()) continue;
      this.#reveal(input);
      input.reportValidity();
      return true;
    }
    return false;
  }

  /** Marks the field that the service refused. */
  fault(field, message) {
    const one = this.#fields.get(field);
    if (!one) return;
    one.row.classList.add("wrong");
    one.input.setAttribute("aria-invalid", "true");
    one.help.textContent = message;
    this.#reveal(one.input);
  }

  #reveal(input) {
    if (this.#more.contains(input)) this.#more.open = true;
    input.focus();
  }

  #fieldset({ title, names }) {
    const rows = names
      .filter((name) => this.#fields.has(name))
      .map((name) => this.#fields.get(name).row);
    return element("fieldset", { hidden: !rows.length }, element("legend", {}, title), ...rows);
  }

  #all() {
    const all = {};
    for (const [field, one] of this.#fields) all[field] = one.read();
    return all;
  }

  #changed() {
    const all = this.#all();
    for (const [field, one] of this.#fields) {
      const has = this.#parameters.applies(field, all);
      one.row.classList.remove("wrong");
      one.input.removeAttribute("aria-invalid");
      one.help.textContent = one.about;
      if (field === "n") one.input.disabled = !has;
      else one.row.hidden = !has;
    }
    for (const set of this.#more.querySelectorAll("fieldset")) {
      set.hidden = [...set.querySelectorAll(".field")].every((row) => row.hidden);
    }
    const strategy = all.strategy === "auto" ? this.#parameters.strategy(all) : null;
    this.#means.textContent = strategy ? `With these parameters auto means ${strategy}.` : "";
    const given = Object.keys(this.values()).filter(
      (name) => !["n", "strategy", "task"].includes(name),
    );
    this.#summary.textContent = given.map((name) => ` \u00b7 ${name} ${all[name]}`).join("");
    this.root.dispatchEvent(new Event("change"));
  }
}

function isDefault(value, preset) {
  if (Array.isArray(value)) return value.length === 0;
  return value === preset;
}

/** A control for one property: how to read and write it, and its row on the page. */
function makeField(name, property, id) {
  const type = property.anyOf?.find((one) => one.type !== "null") ?? property;
  const about = property.description ?? "";
  const help = element("p", { id: `${id}-help`, className: "help" }, about);
  const made = makeControl(type, property.default, id, help.id);
  const row =
    type.type === "boolean"
      ? element(
          "div",
          { className: "field check" },
          element("label", {}, made.input, ` ${name}`),
          help,
        )
      : type.type === "array"
        ? element(
            "div",
            { className: "field", role: "group", "aria-label": name },
            element("span", { className: "label" }, name),
            made.input,
            help,
          )
        : element(
            "div",
            { className: "field" },
            element("label", { htmlFor: id }, name),
            made.input,
            help,
          );
  row.dataset.name = name;
  return { ...made, row, help, about };
}

function makeControl(type, preset, id, describedBy) {
  if (type.enum) {
    const input = element(
      "select",
      { id, "aria-describedby": describedBy },
      ...type.enum.map((value) => element("option", { value }, value)),
    );
    return { input, read: () => input.value, write: (value) => (input.value = value) };
  }
  if (type.type === "boolean") {
    const input = element("input", {
      id,
      type: "checkbox",
      checked: preset,
      "aria-describedby": describedBy,
    });
    return { input, read: () => input.checked, write: (value) => (input.checked = value) };
  }
  if (type.type === "array") {
    const boxes = type.items.enum.map((value) => element("input", { type: "checkbox", value }));
    const labels = boxes.map((box) =>
      element("label", { className: "check" }, box, ` ${box.value}`),
    );
    return {
      input: element("div", { className: "boxes" }, ...labels),
      read: () => boxes.filter((box) => box.checked).map((box) => box.value),
      write: (values = []) => boxes.forEach((box) => (box.checked = values.includes(box.value))),
    };
  }
  return makeNumber(type, preset, id, describedBy);
}

function makeNumber(type, preset, id, describedBy) {
  const most = type.maximum ?? (type.exclusiveMaximum && type.exclusiveMaximum - 1);
  const input = element("input", {
    id,
    type: "number",
    inputMode: type.type === "integer" ? "numeric" : "decimal",
    min: type.minimum ?? type.exclusiveMinimum ?? "",
    max: most === undefined ? "" : Math.min(most, Number.MAX_SAFE_INTEGER),
    step: type.type === "integer" ? 1 : "any",
    value: preset ?? "",
    "aria-describedby": describedBy,
  });
  return {
    input,
    isNumber: true,
    read: () => (input.value === "" ? (preset ?? undefined) : input.valueAsNumber),
    write: (value) => (input.value = value ?? ""),
  };
}
