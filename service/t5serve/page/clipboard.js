// Copies text, also where the page was not loaded over HTTPS.

/** Copies a text; returns whether it worked. */
export async function copy(text) {
	try {
		await navigator.clipboard.writeText(text);
		return true;
	} catch {
		return copyBySelection(text);
	}
}

function copyBySelection(text) {
	const focused = document.activeElement;
	const area = document.createElement("textarea");
	area.value = text;
	area.className = "unseen";
	document.body.append(area);
	area.select();
	const copied = document.execCommand("copy");
	area.remove();
	focused?.focus();
	return copied;
}

/** Copies a text; the button says for two seconds whether it worked. */
export async function copyFor(button, text) {
	const label = button.textContent;
	if (button.dataset.busy) return;
	button.dataset.busy = "1";
	button.textContent = (await copy(text)) ? "Copied" : "Not copied";
	setTimeout(() => {
		button.textContent = label;
		delete button.dataset.busy;
	}, 2000);
}
