import type { TimelineEvent } from "../api/types";
import { EventStreamParser } from "./sse";

/** live: what is shown is what is there. retrying: it catches up by itself. gone: it will not. */
export type StreamState = "connecting" | "live" | "retrying" | "offline" | "gone";

export interface StreamOptions {
  url: string;
  /** New events in order, each exactly once, batched to about one call a frame. */
  onEvents: (events: TimelineEvent[]) => void;
  onState: (state: StreamState) => void;
  /** Called for 401: the session has ended. */
  onSignedOut?: () => void;
  fetch?: typeof fetch;
  /** First wait after a failure, in ms; it doubles up to 20 times that. */
  backoff?: number;
}

const silence = 60_000;
/** A batch of more than this is history coming in: then fewer, larger batches draw sooner. */
const large = 100;

/**
 * Follows an incident's timeline over server-sent events and resumes after the
 * last event it has seen. fetch rather than EventSource, which gives up for
 * ever on an error status and hides which one it was. Returns the function that ends it.
 *
 * The server numbers events in order, so whatever is not above the last number
 * was seen before and is dropped: a reconnect never shows a row twice.
 */
export function followTimeline(options: StreamOptions): () => void {
  const request = options.fetch ?? fetch;
  const firstWait = options.backoff ?? 500;
  let last = 0;
  let wait = firstWait;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let watchdog: ReturnType<typeof setTimeout> | undefined;
  let abort: AbortController | null = null;
  let ended = false;

  let queue: TimelineEvent[] = [];
  let history = false;
  let cancelFlush: (() => void) | null = null;
  const flush = () => {
    cancelFlush = null;
    const batch = queue;
    queue = [];
    history = batch.length > large;
    if (batch.length > 0 && !ended) options.onEvents(batch);
  };
  const enqueue = (event: TimelineEvent) => {
    queue.push(event);
    cancelFlush ??= history || document.hidden ? later(flush, 150) : nextFrame(flush);
  };

  const retry = () => {
    if (ended) return;
    if (!navigator.onLine) {
      options.onState("offline");
      return; // the online event goes on
    }
    options.onState("retrying");
    timer = setTimeout(() => void connect(), wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, firstWait * 20);
  };

  const connect = async () => {
    clearTimeout(timer);
    const mine = (abort = new AbortController());
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => mine.abort(), silence);
    };
    try {
      alive();
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (last > 0) headers["Last-Event-ID"] = String(last);
      const response = await request(options.url, { headers, signal: mine.signal, cache: "no-store" });
      if (response.status === 401 || response.status === 403 || response.status === 404) {
        clearTimeout(watchdog);
        if (mine !== abort || ended) return;
        options.onState("gone");
        if (response.status === 401) options.onSignedOut?.();
        return;
      }
      if (!response.ok || !response.body) throw new Error(`stream: status ${response.status}`);
      options.onState("live");
      const parser = new EventStreamParser();
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || mine !== abort || ended) break;
        alive();
        for (const { data, event } of parser.push(decoder.decode(value, { stream: true }))) {
          if (event !== "timeline" && event !== "message") continue;
          const entry = JSON.parse(data) as TimelineEvent;
          if (!(entry.seq > last)) continue;
          last = entry.seq;
          wait = firstWait;
          enqueue(entry);
        }
      }
    } catch {
      // The network, the server or a broken frame: all are answered by resuming.
    }
    clearTimeout(watchdog);
    if (mine !== abort || ended) return;
    mine.abort();
    retry();
  };

  const onOnline = () => {
    abort?.abort();
    wait = firstWait;
    void connect();
  };
  const onOffline = () => {
    const dropped = abort;
    abort = null;
    dropped?.abort();
    clearTimeout(timer);
    clearTimeout(watchdog);
    options.onState("offline");
  };
  addEventListener("online", onOnline);
  addEventListener("offline", onOffline);

  options.onState(navigator.onLine ? "connecting" : "offline");
  if (navigator.onLine) void connect();

  return () => {
    ended = true;
    removeEventListener("online", onOnline);
    removeEventListener("offline", onOffline);
    clearTimeout(timer);
    clearTimeout(watchdog);
    cancelFlush?.();
    abort?.abort();
  };
}

function nextFrame(run: () => void): () => void {
  const id = requestAnimationFrame(run);
  return () => cancelAnimationFrame(id);
}

/** Also for a hidden page, which gets no frames. */
function later(run: () => void, ms: number): () => void {
  const id = setTimeout(run, ms);
  return () => clearTimeout(id);
}
