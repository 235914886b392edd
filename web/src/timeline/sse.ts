export interface ServerEvent {
  id: string;
  event: string;
  data: string;
}

/**
 * Reads the text/event-stream format, in pieces as the network delivers them.
 * Comments (":") carry nothing and are how a server keeps a quiet stream alive.
 */
export class EventStreamParser {
  private rest = "";
  private id = "";
  private event = "";
  private data: string[] = [];

  push(chunk: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    const text = this.rest + chunk;
    let from = 0;
    for (;;) {
      const end = lineEnd(text, from);
      if (!end) break;
      this.line(text.slice(from, end.at), events);
      from = end.next;
    }
    this.rest = text.slice(from);
    return events;
  }

  private line(line: string, events: ServerEvent[]): void {
    if (line === "") {
      if (this.data.length > 0) events.push({ id: this.id, event: this.event || "message", data: this.data.join("\n") });
      this.event = "";
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.data.push(value);
    else if (field === "id" && !value.includes("\0")) this.id = value;
    else if (field === "event") this.event = value;
  }
}

/** Lines end in LF, CRLF or CR. A CR at the very end may be half of a CRLF, so it waits. */
function lineEnd(text: string, from: number): { at: number; next: number } | null {
  for (let i = from; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 10) return { at: i, next: i + 1 };
    if (c === 13) {
      if (i + 1 === text.length) return null;
      return { at: i, next: text.charCodeAt(i + 1) === 10 ? i + 2 : i + 1 };
    }
  }
  return null;
}
