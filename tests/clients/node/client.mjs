// npm's eventsource. It reconnects by itself, but for an answer with an error status, which a proxy gives while the
// server restarts: then, as in a browser, a new one is opened where the last one stopped.
import { EventSource } from "eventsource";

const NAMES = ["message", "envelope", "log", "caught-up", "cursor", "reset"];
const REOPEN_MS = 300;
const url = new URL(process.argv[2]);
let cursor = null;

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function open() {
  if (cursor !== null) url.searchParams.set("last_event_id", cursor);
  const source = new EventSource(url);
  for (const name of NAMES) {
    source.addEventListener(name, (event) => {
      if (event.lastEventId !== "") cursor = event.lastEventId;
      say({ event: name, id: event.lastEventId, data: event.data });
    });
  }
  source.addEventListener("open", () => say({ opened: true }));
  source.addEventListener("error", (event) => {
    say({ broken: event.message ?? "the stream ended", status: event.code ?? null });
    if (source.readyState !== EventSource.CLOSED) return;
    source.close();
    setTimeout(open, REOPEN_MS);
  });
}

open();
