// The page: what is typed goes to one side or two, and what they answer into the history.
import { getJson, hasKey, onKeyNeeded, setKey } from "./api.js";
import { copyFor } from "./clipboard.js";
import { byId, element } from "./dom.js";
import { History } from "./history.js";
import { askForKey } from "./key.js";
import { Live } from "./live.js";
import { Side } from "./side.js";
import { ServiceStatus } from "./status.js";

const EXAMPLES = [
  "which are the best python books for beginners",
  "whats the best way too remove a wine stain",
  "cheap flights london new york 2026",
  "why does my cat stare at me at night",
];
const STATES = {
  ready: ["Ready", ""],
  loading: ["Loading", "The model is being loaded. The page goes on by itself."],
  restarting: [
    "Restarting",
    "The model's process ended and is being started anew. The page goes on by itself.",
  ],
  draining: ["Shutting down", "The service is shutting down and takes no more queries."],
  failed: ["Failed", "The service could not load its model. Its log says why."],
  down: ["Down", "The service does not answer. The page goes on by itself once it does."],
};
const NOTICE_MS = 10_000;
const TALLEST = 240; // pixels of a long query

const query = byId("query");
const status = new ServiceStatus();
let sides = [];
let running = null;
let troubled = false;
let hiding = 0;

const prepared = prepare();

async function prepare() {
  onKeyNeeded((wasRefused) => {
    byId("key").hidden = false;
    return askForKey(wasRefused);
  });
  showExamples();
  wireQuery();
  wireKeyButton();
  status.addEventListener("change", showState);
  status.watch();
  const { components } = await persist(() => getJson("openapi.json"));
  sides = ["A", "B"].map((name) =>
    makeSide(name, components.schemas.ReformulateRequest.properties),
  );
  byId("sides").append(...sides.map((side) => side.root));
  wireCompare();
  watchService();
}

async function watchService() {
  const history = new History(byId("history"), restore);
  const live = new Live(byId("live"), () =>
    notice("A worker process ended and was started anew.", NOTICE_MS),
  );
  live.watch();
  byId("ask").addEventListener("answered", ({ detail }) => {
    history.add(detail);
    live.look();
  });
  describe(await persist(() => getJson("v1/models")));
}

function makeSide(name, schema) {
  return new Side(schema, name, status, { typed: () => query.value.trim(), retry: ask });
}

/** Waits for what is missing, the service or a key, as long as it takes. */
async function persist(get) {
  for (;;) {
    try {
      return await get();
    } catch (error) {
      if (error.status !== 401) await status.whenReady();
      else
        await new Promise((resolve) =>
          byId("key").addEventListener("given", resolve, { once: true }),
        );
    }
  }
}

function describe({ data: [model] }) {
  status.model = model.id;
  byId("key").hidden = !hasKey();
  for (const side of sides) side.settings.describe(model);
  showState();
}

function wireQuery() {
  const fit = () => {
    query.style.overflowY = "hidden"; // a scroll bar would make lines shorter, and more of them
    query.style.height = "auto";
    const height = query.scrollHeight;
    query.style.height = `${Math.min(height, TALLEST)}px`;
    query.style.overflowY = height > TALLEST ? "auto" : "hidden";
  };
  query.addEventListener("input", () => {
    fit();
    for (const side of sides) side.code.update();
  });
  query.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("ask").requestSubmit();
  });
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  byId("stop").addEventListener("click", () => running?.abort());
  document.addEventListener("click", ({ target }) => {
    if (target.dataset?.copies !== undefined) copyFor(target, target.dataset.copies);
  });
}

/** Asks every side that is shown, one after the other so that their times compare. */
async function ask() {
  const typed = query.value.trim();
  await prepared; // who types at once does not wait in vain
  const shown = sides.filter((side) => !side.root.hidden);
  if (!typed) return query.focus();
  if (shown.some((side) => side.settings.refuse())) return;
  running?.abort();
  const mine = (running = new AbortController());
  busy(true);
  const answered = [];
  for (const side of shown) {
    if (mine.signal.aborted) break;
    if (await side.ask(typed, mine.signal)) answered.push(side);
  }
  if (answered.length) remember(typed, shown);
  if (running === mine) busy(false);
}

function remember(typed, shown) {
  const detail = {
    query: typed,
    sides: shown.map((side) => side.settings.values()),
    texts: shown.map((side) => side.results.texts()[0] ?? ""),
  };
  byId("ask").dispatchEvent(new CustomEvent("answered", { detail }));
}

function restore(entry) {
  type(entry.query);
  byId("compare").checked = entry.sides.length > 1;
  showSides();
  entry.sides.forEach((values, index) => sides[index]?.settings.set(values));
  ask();
}

function type(text) {
  query.value = text;
  query.dispatchEvent(new Event("input"));
}

function busy(isBusy) {
  byId("stop").hidden = !isBusy;
}

function showExamples() {
  byId("examples").append(
    ...EXAMPLES.map((text) =>
      element(
        "button",
        { type: "button", className: "example", onclick: () => (type(text), ask()) },
        text,
      ),
    ),
  );
}

function wireCompare() {
  byId("compare").addEventListener("change", showSides);
  showSides();
}

function showSides() {
  const comparing = byId("compare").checked;
  byId("sides").classList.toggle("two", comparing);
  sides[1].root.hidden = !comparing;
}

function wireKeyButton() {
  byId("key").addEventListener("click", async () => {
    const given = await askForKey(false);
    if (!given) return;
    setKey(given);
    byId("key").dispatchEvent(new Event("given"));
  });
}

function showState() {
  const [label, explanation] = STATES[status.state] ?? [
    "Not ready",
    status.message || "Connecting.",
  ];
  const state = byId("state");
  state.dataset.state = status.state;
  state.textContent =
    status.state === "ready" && status.model ? `${label}: ${status.model}` : label;
  if (explanation) notice(explanation);
  else if (troubled) notice("The service is ready again.", NOTICE_MS);
  troubled = Boolean(explanation);
}

/** Says something to everybody; for a while, or until it is taken back. */
function notice(text, milliseconds = 0) {
  clearTimeout(hiding);
  const shown = byId("notice");
  shown.textContent = text;
  shown.hidden = !text;
  if (milliseconds) hiding = setTimeout(() => notice(""), milliseconds);
}
