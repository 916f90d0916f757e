// Saves results as files, without sending them anywhere.

/** Writes results as CSV (RFC 4180): a row per reformulation, a row for a line without one. */
export function toCsv(results) {
	const rows = [["query", "rank", "reformulation", "score", "changed", "reason"]];
	for (const result of results) {
		const { original, changed = false, error } = result;
		const reason = error ?? result.fallback_reason ?? result.unchanged_reason ?? "";
		for (const { rank, text, score } of result.reformulations ?? [{ rank: "", text: "", score: "" }])
			rows.push([original, rank, text, score ?? "", changed, reason]);
	}
	return rows.map((row) => `${row.map(quote).join(",")}\r\n`).join("");
}

function quote(value) {
	const text = String(value);
	return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Offers a text as a download. */
export function saveFile(name, type, text) {
	const link = document.createElement("a");
	link.download = name;
	link.href = URL.createObjectURL(new Blob([text], { type }));
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
