import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { askEarly, earlyAnswer, expectSession, expectsSession } from "./early";

const at = (path: string) => new URL(path, location.origin).href;

describe("what is asked early", () => {
  let calls: string[];
  beforeEach(() => {
    calls = [];
    vi.stubGlobal("fetch", (url: string) => {
      calls.push(url);
      return url.endsWith("/away") ? Promise.reject(new TypeError("network")) : Promise.resolve(new Response(url));
    });
  });
  afterEach(async () => {
    await earlyAnswer(new Request(at("/api/x"), { method: "POST" }));
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  it("answers one request of the same address", async () => {
    askEarly("/api/a?cursor=&limit=100");
    expect(calls).toEqual([at("/api/a?cursor=&limit=100")]);
    expect(await earlyAnswer(new Request(at("/api/a")))).toBeUndefined();
    const answer = await earlyAnswer(new Request(at("/api/a?cursor=&limit=100")));
    expect(await answer?.text()).toBe(at("/api/a?cursor=&limit=100"));
    expect(await earlyAnswer(new Request(at("/api/a?cursor=&limit=100")))).toBeUndefined();
  });

  it("is asked again where it was not reached", async () => {
    askEarly("/api/away");
    expect(await earlyAnswer(new Request(at("/api/away")))).toBeUndefined();
  });

  it("is forgotten as soon as something is changed", async () => {
    askEarly("/api/a");
    expect(await earlyAnswer(new Request(at("/api/auth/logout"), { method: "POST" }))).toBeUndefined();
    expect(await earlyAnswer(new Request(at("/api/a")))).toBeUndefined();
  });

  it("is not used when it is old", async () => {
    const began = performance.now();
    askEarly("/api/a");
    vi.spyOn(performance, "now").mockReturnValue(began + 60_000);
    expect(await earlyAnswer(new Request(at("/api/a")))).toBeUndefined();
  });

  it("is not given to who has gone", async () => {
    askEarly("/api/a");
    const gone = new AbortController();
    const answer = earlyAnswer(new Request(at("/api/a"), { signal: gone.signal }));
    gone.abort();
    await expect(answer).rejects.toThrow();
  });
});

describe("the session that is expected", () => {
  it("is one bit, which says nothing of whose it is", () => {
    expect(expectsSession()).toBe(false);
    expectSession(true);
    expect(expectsSession()).toBe(true);
    expect(Object.values(localStorage)).toEqual(["1"]);
    expectSession(false);
    expect(expectsSession()).toBe(false);
  });

  it("is none where nothing can be kept", () => {
    vi.spyOn(Storage.prototype, "getItem").mockImplementation(() => {
      throw new DOMException("blocked", "SecurityError");
    });
    expect(expectsSession()).toBe(false);
    expect(() => expectSession(true)).not.toThrow();
  });
});
