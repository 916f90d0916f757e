/** The server-sent events of a body, as {name, data}, each as soon as it is whole. */
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
      for (const frame of frames) yield parse(frame);
    }
  } finally {
    reader.cancel().catch(() => {}); // the service stops working for a reader that left
  }
}

function parse(frame) {
  const event = { name: "message", data: null };
  for (const line of frame.split("\n")) {
    if (line.startsWith("event: ")) event.name = line.slice(7);
    if (line.startsWith("data: ")) event.data = JSON.parse(line.slice(6));
  }
  return event;
}
