// Asks for an API key, which is kept in this tab only.
import { byId } from "./dom.js";

/** Resolves with the key that the user typed; empty if the dialog was closed without one. */
export function askForKey(wasRefused) {
	const dialog = byId("key-dialog");
	const field = byId("key-field");
	byId("key-fault").hidden = !wasRefused;
	field.value = "";
	dialog.returnValue = "";
	dialog.showModal();
	field.focus();
	return new Promise((resolve) => {
		dialog.addEventListener(
			"close",
			() => {
				resolve(dialog.returnValue === "use" ? field.value.trim() : "");
				field.value = "";
			},
			{ once: true },
		);
	});
}
