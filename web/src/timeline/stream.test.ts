import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { TimelineEvent } from "../api/types";
import { EventStreamParser } from "./sse";
import { followTimeline, type StreamState } from "./stream";

function frame(seq: number): string {
  return `id: ${seq}\nevent: timeline\ndata: {"seq":${seq},"kind":"notice","data":{"text":"${seq}"}}\n\n`;
}

describe("EventStreamParser", () => {
  it.each([1, 2, 3, 7, 1000])("reads the same in chunks of %d", (size) => {
    const text = `: hello\r\n\r\nid: 1\r\nevent: timeline\r\ndata: a\r\ndata: b\r\n\r\ndata:c\n\n\nid: 2\rdata\r\r`;
    const p = new EventStreamParser();
    const got = [];
    for (let i = 0; i < text.length; i += size) got.push(...p.push(text.slice(i, i + size)));
    got.push(...p.push("\n"));
    expect(got).toEqual([
      { id: "1", event: "timeline", data: "a\nb" },
      { id: "1", event: "message", data: "c" },
      { id: "2", event: "message", data: "" },
    ]);
  });
});

/** A server that answers each connection with the next script entry. */
function server(...answers: (string | number)[]) {
  const asked: (string | null)[] = [];
  const request = vi.fn(async (_: unknown, init?: RequestInit) => {
    asked.push(new Headers(init?.headers).get("Last-Event-ID"));
    const answer = answers.shift();
    if (answer === undefined) return new Promise<Response>(() => {});
    if (typeof answer === "number") return new Response(null, { status: answer });
    return new Response(
      new ReadableStream({
        start(c) {
          c.enqueue(new TextEncoder().encode(answer));
          c.close();
        },
      }),
    );
  });
  return { request: request as unknown as typeof fetch, asked };
}

describe("followTimeline", () => {
  let stop = () => {};
  let seen: number[] = [];
  let states: StreamState[] = [];
  const follow = (request: typeof fetch, onSignedOut?: () => void) => {
    stop = followTimeline({
      url: "/stream",
      fetch: request,
      backoff: 1,
      onEvents: (events: TimelineEvent[]) => seen.push(...events.map((e) => e.seq)),
      onState: (s) => states.push(s),
      onSignedOut,
    });
  };
  beforeEach(() => {
    seen = [];
    states = [];
  });
  afterEach(() => stop());

  it("resumes after the last event and drops what comes twice", async () => {
    const { request, asked } = server(frame(1) + frame(2), 503, frame(2) + frame(1) + frame(3) + frame(3));
    follow(request);
    await vi.waitFor(() => expect(asked).toHaveLength(4));
    await vi.waitFor(() => expect(seen).toEqual([1, 2, 3]));
    expect(asked).toEqual([null, "2", "2", "3"]);
    expect(states).toContain("retrying");
  });

  it("resumes after a frame that was cut", async () => {
    const { request, asked } = server(frame(1) + frame(2).slice(0, -10), frame(2));
    follow(request);
    await vi.waitFor(() => expect(seen).toEqual([1, 2]));
    expect(asked.slice(0, 2)).toEqual([null, "1"]);
  });

  it("waits while the browser is offline and goes on at once when it is not", async () => {
    const { request, asked } = server(frame(1), frame(2));
    const online = vi.spyOn(navigator, "onLine", "get").mockReturnValue(false);
    follow(request);
    expect(states).toEqual(["offline"]);
    expect(asked).toHaveLength(0);
    online.mockReturnValue(true);
    dispatchEvent(new Event("online"));
    await vi.waitFor(() => expect(seen).toEqual([1, 2]));
  });

  it("stops for good when the session has ended", async () => {
    const { request, asked } = server(401);
    const out = vi.fn();
    follow(request, out);
    await vi.waitFor(() => expect(out).toHaveBeenCalledOnce());
    expect(states.at(-1)).toBe("gone");
    expect(asked).toHaveLength(1);
  });
});
