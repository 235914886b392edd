import { render } from "@testing-library/react";
import Markdown from "react-markdown";
import remarkGfm from "remark-gfm";
import { beforeEach, describe, expect, it } from "vitest";
import document from "../../../internal/api/testdata/postmortem.md?raw";

// What the api's own test has written, with hostile words wherever words may come
// from outside. Here it is read as the readers of such documents do.
describe("a postmortem with hostile words", () => {
  let container: HTMLElement;
  beforeEach(() => {
    ({ container } = render(<Markdown remarkPlugins={[remarkGfm]}>{document}</Markdown>));
  });
  it("has no link, image or table, and nothing is emphasized, struck out or hidden but by us", () => {
    for (const tag of ["a", "img", "table", "em", "del", "script", "iframe", "hr + hr", "ol", "blockquote", "section"]) expect(container.querySelectorAll(tag).length, tag).toBe(0);
    expect([...container.querySelectorAll("strong")].map((s) => s.textContent)).toEqual(
      ["Severity", "Status", "Service", "Source", "Opened", "Resolved", "Assignee", "Alerts", "confirmed"].map((w) => `${w}:`),
    );
    expect(document).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u200b\u001b]/);
  });
  it("has our headings and no others", () => {
    expect(container.querySelectorAll("h1")).toHaveLength(1);
    expect(container.querySelectorAll("h3, h4, h5, h6")).toHaveLength(0);
    expect([...container.querySelectorAll("h2")].map((h) => h.textContent)).toEqual([
      "Summary", "Impact", "Root cause", "Hypotheses", "Claims that were dropped for want of evidence", "Timeline", "Recommended actions", "Alerts",
      "What the agent did", "Who did what", "What people think of the findings", "Cost",
    ]);
  });
  it("keeps a command together in its block", () => {
    expect(container.querySelectorAll("pre")).toHaveLength(1);
    expect(container.querySelector("pre")?.textContent).toContain("<script>alert(1)</script>");
    expect(container.querySelectorAll("input[type=checkbox]")).toHaveLength(1);
  });
});
