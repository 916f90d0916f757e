// The page: sends the query to one side or to both, and adds the answers to the history.
import { getJson, hasKey, onKeyNeeded, setKey } from "./api.js";
import { copyFor } from "./clipboard.js";
import { byId, element } from "./dom.js";
import { History } from "./history.js";
import { askForKey } from "./key.js";
import { Live } from "./live.js";
import { Side } from "./side.js";
import { ServiceStatus } from "./status.js";

const EXAMPLES = [
  "how do i clean a laptop screen",
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
const MAX_QUERY_HEIGHT = 240; // pixels

const query = byId("query");
const status = new ServiceStatus();
let sides = [];
let ready = ""; // what is ready: the model's name, or how many there are
let running = null; // aborts the current question
let hadTrouble = false;
let noticeTimer = 0;

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
  const { components } = await untilAnswered(() => getJson("openapi.json"));
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
    showNotice("A worker process ended and was started anew.", NOTICE_MS),
  );
  live.watch();
  byId("ask").addEventListener("answered", ({ detail }) => {
    history.add(detail);
    live.refresh();
  });
  const describeModels = async () => describe(await untilAnswered(() => getJson("v1/models")));
  status.addEventListener("models", describeModels); // after a reload, or when one was loaded
  await describeModels();
}

function makeSide(name, schema) {
  return new Side(schema, name, status, { getQuery: () => query.value.trim(), retry: ask });
}

/** Repeats a request until it succeeds: waits for the service, or for a key. */
async function untilAnswered(request) {
  for (;;) {
    try {
      return await request();
    } catch (error) {
      if (error.status !== 401) await status.whenReady();
      else
        await new Promise((resolve) =>
          byId("key").addEventListener("key-set", resolve, { once: true }),
        );
    }
  }
}

function describe({ data: models }) {
  const usable = models.filter(({ state }) => state !== "failed");
  const all = usable.length < models.length ? `of ${models.length} ` : "";
  ready = models.length > 1 ? `${usable.length} ${all}models` : models[0].id;
  byId("key").hidden = !hasKey();
  for (const side of sides) side.describe(models);
  showState();
}

function wireQuery() {
  const fitHeight = () => {
    query.style.overflowY = "hidden"; // a scroll bar would narrow the lines, and wrap more of them
    query.style.height = "auto";
    const height = query.scrollHeight;
    query.style.height = `${Math.min(height, MAX_QUERY_HEIGHT)}px`;
    query.style.overflowY = height > MAX_QUERY_HEIGHT ? "auto" : "hidden";
  };
  query.addEventListener("input", () => {
    fitHeight();
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

/** Asks all visible sides, one after the other so that their times are comparable. */
async function ask() {
  const text = query.value.trim();
  await prepared; // a question that is asked before the page is ready waits for it
  const visible = sides.filter((side) => !side.root.hidden);
  if (!text) return query.focus();
  if (visible.some((side) => side.settings.reportInvalid())) return;
  running?.abort();
  const controller = (running = new AbortController());
  showBusy(true);
  const answered = [];
  for (const side of visible) {
    if (controller.signal.aborted) break;
    if (await side.ask(text, controller.signal)) answered.push(side);
  }
  if (answered.length) announce(text, visible);
  if (running === controller) showBusy(false);
}

function announce(text, visible) {
  const detail = {
    query: text,
    sides: visible.map((side) => side.settings.values()),
    texts: visible.map((side) => side.results.texts()[0] ?? ""),
  };
  byId("ask").dispatchEvent(new CustomEvent("answered", { detail }));
}

function restore(entry) {
  setQuery(entry.query);
  byId("compare").checked = entry.sides.length > 1;
  showSides();
  entry.sides.forEach((values, index) => sides[index]?.settings.set(values));
  ask();
}

function setQuery(text) {
  query.value = text;
  query.dispatchEvent(new Event("input"));
}

function showBusy(isBusy) {
  byId("stop").hidden = !isBusy;
}

function showExamples() {
  byId("examples").append(
    ...EXAMPLES.map((text) =>
      element(
        "button",
        { type: "button", className: "example", onclick: () => (setQuery(text), ask()) },
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
    const key = await askForKey(false);
    if (!key) return;
    setKey(key);
    byId("key").dispatchEvent(new Event("key-set"));
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
    status.state === "ready" && ready ? `${label}: ${ready}` : label;
  if (explanation) showNotice(explanation);
  else if (hadTrouble) showNotice("The service is ready again.", NOTICE_MS);
  hadTrouble = Boolean(explanation);
}

/** Shows a notice for a time; without one, until the next notice. */
function showNotice(text, milliseconds = 0) {
  clearTimeout(noticeTimer);
  const notice = byId("notice");
  notice.textContent = text;
  notice.hidden = !text;
  if (milliseconds) noticeTimer = setTimeout(() => showNotice(""), milliseconds);
}
