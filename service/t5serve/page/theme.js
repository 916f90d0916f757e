// Light or dark: the system's choice, or the one made here. A plain script in the head, so that
// the page is never painted in the other one first.
"use strict";
(() => {
  const NEXT = { system: "light", light: "dark", dark: "system" };
  const root = document.documentElement;

  function stored() {
    try {
      return localStorage.getItem("t5serve.theme") || "system";
    } catch {
      return "system"; // storage is off: the choice lasts as long as the page
    }
  }

  function apply(theme) {
    root.dataset.theme = theme in NEXT ? theme : "system";
  }

  function label(button) {
    const theme = root.dataset.theme;
    button.firstChild.textContent = { system: "Auto", light: "Light", dark: "Dark" }[theme];
    button.setAttribute("aria-label", `${button.textContent}; change to ${NEXT[theme]}`);
  }

  apply(stored());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    button.hidden = false;
    label(button);
    button.addEventListener("click", () => {
      apply(NEXT[root.dataset.theme]);
      label(button);
      try {
        localStorage.setItem("t5serve.theme", root.dataset.theme);
      } catch {
        // as above
      }
    });
  });
})();
