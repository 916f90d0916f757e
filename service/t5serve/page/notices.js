// What the page says of the service: a word in the corner, a sentence above the answer.
import { byId, element } from "./dom.js";

const STATES = {
	ready: ["Ready", ""],
	connecting: ["Connecting", ""],
	loading: ["Loading", "The model is being loaded. The page goes on by itself."],
	restarting: [
		"Restarting",
		"The model's process ended or hung, and is being started anew. The page goes on by itself.",
	],
	draining: ["Shutting down", "The service is shutting down and takes no more queries."],
	failed: ["Failed", "The service could not load its model. Its log says why."],
	down: ["Down", "The service does not answer. The page goes on by itself once it does."],
	locked: ["Key needed", "This service needs an API key."],
};
const NOTICE_MS = 10_000;

let shown = ""; // the state that the notice explains
let timer = 0;

/** Shows the state of the service; `models` are null until they are known. */
export function showState(status, models) {
	const name = status.state === "ready" && status.isLocked ? "locked" : status.state;
	const [label, explanation] = STATES[name] ?? ["Not ready", status.message];
	const state = byId("state");
	state.dataset.state = name;
	state.textContent = name === "ready" && models ? `${label}: ${describe(models)}` : label;
	if (explanation) show(explanation, name === "locked");
	else if (shown === "locked") show("");
	else if (shown) showNotice("The service is ready again.");
	shown = explanation ? name : "";
}

/** Shows a sentence for some seconds. */
export function showNotice(text) {
	show(text);
	timer = setTimeout(() => show(""), NOTICE_MS);
}

function show(text, needsKey = false) {
	clearTimeout(timer);
	const notice = byId("notice");
	const button = element("button", { type: "button" }, "Enter the key");
	button.dataset.action = "key";
	notice.replaceChildren(text, ...(needsKey ? [button] : []));
	notice.hidden = !text;
}

/** Names the model, or counts the models that can be used. */
function describe(models) {
	if (models.length === 1) return models[0].id;
	const usable = models.filter(({ state }) => state !== "failed").length;
	return `${usable} ${usable < models.length ? `of ${models.length} ` : ""}models`;
}
