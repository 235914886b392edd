import { afterEach, beforeEach, expect, it, vi } from "vitest";

const sent: (string | null)[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
  vi.resetModules();
  sent.length = 0;
  vi.stubGlobal("fetch", (request: Request) => {
    sent.push(request.headers.get("Akmatori-Unattended"));
    return Promise.resolve(new Response("{}", { headers: { "Content-Type": "application/json" } }));
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("says of each request whether somebody sits there", async () => {
  const { api } = await import("./client");
  const ask = async (later: number) => {
    vi.advanceTimersByTime(later);
    await api.GET("/api/v1/targets");
    return sent.at(-1);
  };
  expect(await ask(0)).toBeNull();
  expect(await ask(59_000)).toBeNull();
  expect(await ask(2_000)).toBe("1");
  expect(await ask(3_600_000)).toBe("1");
  dispatchEvent(new Event("pointermove"));
  expect(await ask(1_000)).toBeNull();
  expect(await ask(60_000)).toBe("1");
  dispatchEvent(new Event("keydown"));
  expect(await ask(0)).toBeNull();
});
