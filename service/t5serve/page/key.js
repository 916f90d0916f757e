// Asks for an API key, which stays with this tab.
import { byId } from "./dom.js";

/** The key that was typed; empty if none was. */
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
