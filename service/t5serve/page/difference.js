// The words that a reformulation added to its original, and those that it removed.

const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });

/** Splits a text into words and the blanks between them: {text, isWord}. */
export function splitWords(text) {
	return Array.from(segmenter.segment(text), ({ segment, isWordLike }) => ({
		text: segment,
		isWord: Boolean(isWordLike) || segment.trim() !== "",
	}));
}

/**
 * Compares a reformulation with its original.
 *
 * Returns {parts, removed}: the reformulation in parts {text, added}, the removed runs of words.
 */
export function difference(original, text) {
	const segments = splitWords(text);
	const before = wordsOf(splitWords(original));
	const { keptBefore, keptAfter } = commonWords(before, wordsOf(segments));
	let wordIndex = 0;
	const parts = segments.map(({ text, isWord }) => ({
		text,
		added: isWord && !keptAfter.has(wordIndex++),
	}));
	return { parts: joinParts(parts), removed: removedRuns(before, keptBefore) };
}

function wordsOf(segments) {
	return segments.filter(({ isWord }) => isWord).map(({ text }) => text);
}

/** The words whose indices are not in `kept`; neighbours are joined. */
function removedRuns(words, kept) {
	const runs = [];
	words.forEach((word, index) => {
		if (kept.has(index)) return;
		if (index > 0 && !kept.has(index - 1)) runs.push(`${runs.pop()} ${word}`);
		else runs.push(word);
	});
	return runs;
}

/** The indices of a longest common subsequence, in both lists. */
function commonWords(before, after) {
	// lengths[i][j]: of the longest one from before[i] and after[j] on
	const lengths = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
	for (let i = before.length - 1; i >= 0; i--) {
		for (let j = after.length - 1; j >= 0; j--) {
			const isSame = before[i] === after[j];
			lengths[i][j] = isSame ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
		}
	}
	const [keptBefore, keptAfter] = [new Set(), new Set()];
	for (let i = 0, j = 0; i < before.length && j < after.length;) {
		if (before[i] === after[j]) {
			keptBefore.add(i++);
			keptAfter.add(j++);
		} else if (lengths[i + 1][j] >= lengths[i][j + 1]) i++;
		else j++;
	}
	return { keptBefore, keptAfter };
}

/** Joins neighbours that are both added or both kept; a blank between added words is added. */
function joinParts(parts) {
	const joined = [];
	parts.forEach((part, index) => {
		const last = joined.at(-1);
		const bridges = part.text.trim() === "" && last?.added && parts[index + 1]?.added;
		const added = part.added || Boolean(bridges);
		if (last?.added === added) last.text += part.text;
		else joined.push({ text: part.text, added });
	});
	return joined;
}
