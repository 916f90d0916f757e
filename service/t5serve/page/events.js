/** Yields the server-sent events of a body, {name, data}, each as soon as it is complete. */
export async function* serverEvents(body) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let buffer = "";
	try {
		for (;;) {
			const { value, done } = await reader.read();
			if (done) return;
			buffer += value;
			const frames = buffer.split("\n\n");
			buffer = frames.pop();
			for (const frame of frames) yield parseEvent(frame);
		}
	} finally {
		reader.cancel().catch(() => {}); // lets the service cancel the job
	}
}

function parseEvent(frame) {
	const event = { name: "message", data: null };
	for (const line of frame.split("\n")) {
		if (line.startsWith("event: ")) event.name = line.slice(7);
		if (line.startsWith("data: ")) event.data = JSON.parse(line.slice(6));
	}
	return event;
}
