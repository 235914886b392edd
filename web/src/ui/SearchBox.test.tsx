import { MantineProvider } from "@mantine/core";
import { act, fireEvent, render, screen } from "@testing-library/react";
import { createRef } from "react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { SearchBox } from "./SearchBox";

beforeEach(() => {
  vi.useFakeTimers();
  history.replaceState(null, "", "/incidents");
});
afterEach(() => vi.useRealTimers());

/** A box on /incidents, and what it has asked for. */
function show() {
  const asked: string[] = [];
  const ref = createRef<HTMLInputElement>();
  const box = (value: string) => (
    <MantineProvider>
      <SearchBox ref={ref} value={value} onChange={(words) => asked.push(words)} label="Search" placeholder="" className={undefined} rest={80} />
    </MantineProvider>
  );
  const { rerender } = render(box(""));
  const input = screen.getByRole<HTMLInputElement>("searchbox");
  return {
    asked,
    input,
    type: (text: string) => fireEvent.change(input, { target: { value: text } }),
    rest: () => act(() => vi.advanceTimersByTime(80)),
    /** The address has these words now. */
    arrives: (value: string) => rerender(box(value)),
  };
}

it("searches after a rest, and what the address says late does not undo what was typed", () => {
  const { asked, input, type, rest, arrives } = show();
  type("l");
  rest();
  type("lag");
  rest();
  expect(asked).toEqual(["l", "lag"]);
  arrives("l");
  expect(input.value).toBe("lag");
  rest();
  arrives("lag");
  rest();
  expect(input.value).toBe("lag");
  expect(asked).toEqual(["l", "lag"]);
});

it("shows what the address says when that is from elsewhere, also words of before", () => {
  const { asked, input, type, rest, arrives } = show();
  type("lag");
  rest();
  arrives("lag");
  arrives("");
  expect(input.value).toBe("");
  arrives("lag");
  expect(input.value).toBe("lag");
  rest();
  expect(asked).toEqual(["lag"]);
});

it("does not go back to a page that is being left", () => {
  const { asked, type, rest } = show();
  type("lag");
  history.pushState(null, "", "/sources");
  rest();
  expect(asked).toEqual([]);
});

it("is left with Escape, and keeps its words", () => {
  const { input, type } = show();
  input.focus();
  type("lag");
  expect(fireEvent.keyDown(input, { key: "Escape" }), "some browsers would empty it").toBe(false);
  expect(document.activeElement).toBe(document.body);
});
