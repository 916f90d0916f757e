// The request as code: for a shell, for Python and for OpenAI's client.

const KEY_VARIABLE = "T5SERVE_API_KEY"; // snippets never contain the key itself

/** Makers of code, by the name of their tab; arguments: {base, body, model, withKey}. */
export const SNIPPETS = { curl, Python: python, OpenAI: openai };

const CHAT_SETTINGS = ["task", "n", "max_tokens"]; // settings that the chat route accepts

function curl({ base, body, withKey }) {
	const lines = [`curl -s ${base}v1/reformulate`, "-H 'Content-Type: application/json'"];
	if (withKey) lines.push(`-H "Authorization: Bearer $${KEY_VARIABLE}"`);
	lines.push(`-d ${quoteForShell(JSON.stringify(body))}`);
	return `${lines.join(" \\\n  ")}\n`;
}

function python({ base, body, withKey }) {
	const headers = withKey ? `headers = {"Authorization": "Bearer " + os.environ["${KEY_VARIABLE}"]}\n` : "";
	return `${withKey ? "import os\n\n" : ""}import httpx

body = ${pythonLiteral(body)}
${headers}answer = httpx.post("${base}v1/reformulate", json=body${withKey ? ", headers=headers" : ""}, timeout=30)
answer.raise_for_status()
for one in answer.json()["results"][0]["reformulations"]:
    print(one["score"], one["text"])
`;
}

function openai({ base, body, model, withKey }) {
	const { query, model: _, ...settings } = body;
	const omitted = Object.keys(settings).filter((name) => !CHAT_SETTINGS.includes(name));
	const callArguments = [
		`model=${pythonLiteral(model)}`,
		`messages=[{"role": "user", "content": ${pythonLiteral(query)}}]`,
	];
	if (settings.n) callArguments.push(`n=${settings.n}`);
	if (settings.max_tokens) callArguments.push(`max_tokens=${settings.max_tokens}`);
	if (settings.task) callArguments.push(`extra_body={"task": ${pythonLiteral(settings.task)}}`);
	const note = omitted.length ? `# Only /v1/reformulate has: ${omitted.join(", ")}\n` : "";
	const key = withKey ? `os.environ["${KEY_VARIABLE}"]` : '"none"';
	return `${withKey ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url="${base}v1", api_key=${key})
${note}completion = client.chat.completions.create(
${callArguments.map((line) => `    ${line},\n`).join("")})
for choice in completion.choices:
    print(choice.message.content)
`;
}

/** Quotes a word for a shell: within single quotes only the quote is special. */
function quoteForShell(text) {
	return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Writes a value as Python: strings as in JSON, which differ for lone surrogates only. */
function pythonLiteral(value) {
	if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(", ")}]`;
	if (value === null) return "None";
	if (value === true) return "True";
	if (value === false) return "False";
	if (typeof value !== "object") return JSON.stringify(value);
	const items = Object.entries(value).map(([key, item]) => `${pythonLiteral(key)}: ${pythonLiteral(item)}`);
	return `{${items.join(", ")}}`;
}
