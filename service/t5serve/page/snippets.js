// The same request for a shell, for Python and for OpenAI's client.

const VARIABLE = "T5SERVE_API_KEY"; // never the key itself

/** Kinds of code, by the name of their tab; each takes {base, body, model, withKey}. */
export const SNIPPETS = { curl, Python: python, OpenAI: openai };

const CHAT = ["task", "n", "max_tokens"]; // settings that the chat route has as well

function curl({ base, body, withKey }) {
  const lines = [`curl -s ${base}v1/reformulate`, "-H 'Content-Type: application/json'"];
  if (withKey) lines.push(`-H "Authorization: Bearer $${VARIABLE}"`);
  lines.push(`-d ${quoted(JSON.stringify(body))}`);
  return `${lines.join(" \\\n  ")}\n`;
}

function python({ base, body, withKey }) {
  const headers = withKey
    ? `headers = {"Authorization": "Bearer " + os.environ["${VARIABLE}"]}\n`
    : "";
  return `${withKey ? "import os\n\n" : ""}import httpx

body = ${literal(body)}
${headers}answer = httpx.post("${base}v1/reformulate", json=body${withKey ? ", headers=headers" : ""}, timeout=30)
answer.raise_for_status()
for one in answer.json()["results"][0]["reformulations"]:
    print(one["score"], one["text"])
`;
}

function openai({ base, body, model, withKey }) {
  const { query, ...settings } = body;
  const left = Object.keys(settings).filter((name) => !CHAT.includes(name));
  const given = [
    `model=${literal(model)}`,
    `messages=[{"role": "user", "content": ${literal(query)}}]`,
  ];
  if (settings.n) given.push(`n=${settings.n}`);
  if (settings.max_tokens) given.push(`max_tokens=${settings.max_tokens}`);
  if (settings.task) given.push(`extra_body={"task": ${literal(settings.task)}}`);
  const note = left.length ? `# Only /v1/reformulate has: ${left.join(", ")}\n` : "";
  const key = withKey ? `os.environ["${VARIABLE}"]` : '"none"';
  return `${withKey ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url="${base}v1", api_key=${key})
${note}completion = client.chat.completions.create(
${given.map((line) => `    ${line},\n`).join("")})
for choice in completion.choices:
    print(choice.message.content)
`;
}

/** A word of a shell: nothing in single quotes is special but the quote. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A value as Python writes it; JSON's strings are Python's but for halves of characters. */
function literal(value) {
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const items = Object.entries(value).map(([key, one]) => `${literal(key)}: ${literal(one)}`);
  return `{${items.join(", ")}}`;
}
