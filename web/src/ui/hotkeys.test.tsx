import { render } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { reader, useHotkeys } from "./hotkeys";

it("names keys as the table does", () => {
  const read = reader();
  expect(read("g", 0)).toBe("g");
  expect(read("s", 1_000)).toBe("g s");
  expect(read("s", 1_001)).toBe("s");
  expect(read("g", 2_000)).toBe("g");
  expect(read("s", 3_001), "the second key came too late").toBe("s");
  expect(read("g", 4_000)).toBe("g");
  expect(read("g", 4_500), "it begins anew").toBe("g");
  expect(read("i", 5_400)).toBe("g i");
  expect(read("g", 6_000)).toBe("g");
  expect(read("j", 6_100), "nothing goes by g and j").toBe("j");
  expect(read("s", 6_200)).toBe("s");
});

const did = vi.fn<(what: string) => void>();
const does = (what: string) => () => did(what);

/** What is around every page, and an incident in it: React runs the effects of what is inside first. */
function Incident() {
  useHotkeys("incident", { a: does("acknowledge"), i: does("investigate") });
  return <input aria-label="Words" />;
}
function Around() {
  const go = Object.fromEntries(["d", "i", "a", "f", "c", "u", "h", "s", "r", "m", "t"].map((k) => [`g ${k}`, does(`go ${k}`)]));
  useHotkeys("everywhere", { "?": does("help"), ...go } as Parameters<typeof useHotkeys<"everywhere">>[1]);
  return <Incident />;
}

function press(key: string, at: number, on: EventTarget = document.body): void {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
  Object.defineProperty(event, "timeStamp", { value: at });
  on.dispatchEvent(event);
}

beforeEach(() => {
  did.mockClear();
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

it("does not investigate what is left with g and i", () => {
  render(<Around />);
  press("g", 10_000);
  press("i", 10_100);
  expect(did.mock.calls).toEqual([["go i"]]);
  press("i", 10_200);
  expect(did.mock.calls).toEqual([["go i"], ["investigate"]]);
});

it("goes by when keys were pressed, however late the page comes to them", () => {
  render(<Around />);
  press("g", 20_000);
  vi.advanceTimersByTime(5_000);
  press("s", 20_200);
  expect(did.mock.calls).toEqual([["go s"]]);
});

it("leaves alone who types", () => {
  const { getByRole } = render(<Around />);
  press("?", 30_000, getByRole("textbox"));
  expect(did).not.toHaveBeenCalled();
  press("?", 30_100);
  expect(did.mock.calls).toEqual([["help"]]);
});

it("does nothing behind an open dialog", () => {
  const { container } = render(<Around />);
  const help = container.appendChild(document.createElement("dialog"));
  help.setAttribute("open", "");
  press("i", 40_000);
  expect(did).not.toHaveBeenCalled();
  help.removeAttribute("open");
  press("i", 40_100);
  expect(did.mock.calls).toEqual([["investigate"]]);
});
