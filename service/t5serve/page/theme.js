// The theme: light, dark, or the system's choice. A plain script in the head, so that the page is
// never painted in the wrong theme first.
"use strict";
(() => {
	const NEXT = { system: "light", light: "dark", dark: "system" };
	const root = document.documentElement;

	function loadTheme() {
		try {
			return localStorage.getItem("t5serve.theme") || "system";
		} catch {
			return "system"; // without storage the choice lasts as long as the page
		}
	}

	function applyTheme(theme) {
		root.dataset.theme = theme in NEXT ? theme : "system";
	}

	function labelButton(button) {
		const theme = root.dataset.theme;
		button.firstChild.textContent = { system: "Auto", light: "Light", dark: "Dark" }[theme];
		button.setAttribute("aria-label", `${button.textContent}; change to ${NEXT[theme]}`);
	}

	applyTheme(loadTheme());
	document.addEventListener("DOMContentLoaded", () => {
		const button = document.getElementById("theme");
		button.hidden = false;
		labelButton(button);
		button.addEventListener("click", () => {
			applyTheme(NEXT[root.dataset.theme]);
			labelButton(button);
			try {
				localStorage.setItem("t5serve.theme", root.dataset.theme);
			} catch {
				// without storage the choice lasts as long as the page
			}
		});
	});
})();
