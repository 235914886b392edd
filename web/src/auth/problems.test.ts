import { expect, it } from "vitest";
import { problemWords, safePath } from "./problems";

it.each([
  ["/incidents/7?x=1", "/incidents/7?x=1"],
  [undefined, "/"],
  ["", "/"],
  ["//evil.example", "/"],
  ["/\\evil.example", "/"],
  ["https://evil.example", "/"],
  ["javascript:alert(1)", "/"],
])("%s leads to %s", (next, to) => expect(safePath(next)).toBe(to));

it("has words for each refusal, and for what it does not know", () => {
  for (const known of ["off", "down", "expired", "denied", "account", "roles", "taken", "name", "disabled"]) {
    expect(problemWords(known, "Example")).not.toContain("Something went wrong");
  }
  expect(problemWords("down", "Example")).toContain("Example does not answer");
  expect(problemWords("<b>made up</b>", "Example")).toBe("Something went wrong. Begin again.");
});
