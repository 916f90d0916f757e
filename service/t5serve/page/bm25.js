// BM25 over a few lines of text, as Lucene computes it, so that a search can be tried in the browser.
//
//   score(query, line) = sum over the query's words of  idf(word) * tf / (tf + k1 * (1 - b + b * length / mean))
//   idf(word)          = ln(1 + (lines - df + 0.5) / (df + 0.5))
//
// tf: how often the line has the word; df: how many lines have it; length: the line's words; mean:
// the mean length. This is Lucene's BM25Similarity since version 8, without the constant k1 + 1
// (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009).

export const K1 = 1.2; // how soon more of the same word adds nothing
export const B = 0.75; // how much a long line must have more of a word than a short one

/** Words that say little by themselves: left out of lines and queries, if asked for. */
export const STOP_WORDS = new Set(
	`a about after all am an and any are as at be because been before being but by can could did do
  does doing for from get had has have having he her here hers him his how i if in into is it its
  just me might more most much must my of on or our ours out over please shall she should so some
  such than that the their them then there these they this those to too up us very was we were what
  when where which while who whom whose why will with would you your yours`.split(/\s+/),
);

/** Splits a text into words: without case, accents, punctuation and an English plural's s. */
export function analyse(text, stopWords = STOP_WORDS) {
	const folded = text
		.normalize("NFKD")
		.replace(/\p{M}+/gu, "")
		.toLowerCase();
	const words = folded.replace(/['\u2019](s|t|m|d|ll|re|ve)\b/g, "").match(/[\p{L}\p{N}]+/gu) ?? [];
	return words.filter((word) => !stopWords.has(word)).map(stripPlural);
}

/** Harman's S-stemmer ("How effective is suffixing?", 1991): the first rule that applies. */
export function stripPlural(word) {
	if (word.length < 4) return word;
	if (/ies$/.test(word) && !/[ea]ies$/.test(word)) return `${word.slice(0, -3)}y`;
	return /[^us]s$/.test(word) ? word.slice(0, -1) : word;
}

/** An index of lines. */
export class Bm25 {
	#postings = new Map(); // word -> Map(line -> tf)
	#lengths;
	#meanLength;

	/** `lines` are lists of words, as `analyse` returns them. */
	constructor(lines) {
		this.#lengths = lines.map((words) => words.length);
		this.#meanLength = this.#lengths.reduce((sum, length) => sum + length, 0) / lines.length || 1;
		lines.forEach((words, line) => {
			for (const word of words) {
				const posting = this.#postings.get(word) ?? new Map();
				this.#postings.set(word, posting.set(line, (posting.get(line) ?? 0) + 1));
			}
		});
	}

	/** Scores every line for the words of a query; a word that comes twice counts twice. */
	score(words) {
		const scores = new Float64Array(this.#lengths.length);
		for (const word of words) {
			const posting = this.#postings.get(word) ?? new Map();
			const idf = Math.log(1 + (scores.length - posting.size + 0.5) / (posting.size + 0.5));
			for (const [line, tf] of posting) {
				const norm = K1 * (1 - B + (B * this.#lengths[line]) / this.#meanLength);
				scores[line] += (idf * tf) / (tf + norm);
			}
		}
		return scores;
	}
}

/** Adds up the scores of several queries, {words, weight}: as `should` clauses with a boost do. */
export function combine(index, queries) {
	const scored = queries.map(({ words, weight }) => index.score(words).map((one) => weight * one));
	return scored.reduce((sums, scores) => sums.map((sum, line) => sum + scores[line]));
}

/** Returns the lines that score above 0, best first; equal scores keep the order of the lines. */
export function rank(scores) {
	const found = Array.from(scores.keys()).filter((line) => scores[line] > 0);
	return found.sort((one, other) => scores[other] - scores[one] || one - other);
}
