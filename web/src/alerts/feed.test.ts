import { expect, test } from "vitest";
import { readAlertSearch, timeOf } from "./feed";

test("the address keeps what the api understands", () => {
  expect(readAlertSearch({ q: "disk", status: "open", severity: "high", source: "s1", label: ["a:b", "none", 5, ":x"], other: 1 })).toEqual({ q: "disk", severity: "high", source: "s1", label: ["a:b"] });
  expect(readAlertSearch({ q: 42, label: "a:b:c" })).toEqual({ q: "42", label: ["a:b:c"] });
  expect(readAlertSearch({ q: "", label: [] })).toEqual({});
});

test("an id says when it was made", () => {
  expect(timeOf("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")).toBe("2022-02-22T19:22:22.000Z"); // the example of RFC 9562
});
