import { MantineProvider } from "@mantine/core";
import { render } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { SafeMarkdown } from "./SafeMarkdown";

function html(text: string): HTMLElement {
  return render(
    <MantineProvider>
      <SafeMarkdown text={text} />
    </MantineProvider>,
  ).container;
}

describe("SafeMarkdown", () => {
  it.each([
    ["a script", "<script>alert(1)</script>", "script"],
    ["a picture", "![x](https://evil.example/x.png)", "img"],
    ["a raw picture", '<img src=x onerror="alert(1)">', "img"],
    ["a frame", "<iframe src='//evil.example'></iframe>", "iframe"],
    ["a style", "<style>*{display:none}</style>", "style:not([data-mantine-styles])"],
    ["a form", '<form action="//evil.example"><input></form>', "form, input"],
    ["a script link", "[x](javascript:alert(1))", "a"],
    ["a data link", "[x](data:text/html,hi)", "a"],
    ["a heading", "# Big", "h1, h2, h3"],
  ])("has no %s", (_, text, selector) => expect(html(text).querySelector(selector)).toBeNull());

  it("says where a link leads and gives it no power", () => {
    const a = html("[runbook](https://example.com/a)").querySelector("a");
    expect(a?.textContent).toContain("(example.com)");
    expect(a?.rel).toBe("noreferrer noopener nofollow");
  });

  it("shows what would reorder or hide", () => {
    expect(html("a\u202eb").textContent).toContain("⟨U+202E⟩");
  });

  it("can be scrolled by the keyboard where it is too wide", () => {
    const c = html("| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nlong\n```");
    const boxes = [c.querySelector("table")?.parentElement, c.querySelector("pre")];
    expect(boxes.map((b) => [b?.tabIndex, b?.getAttribute("role"), b?.getAttribute("aria-label")])).toEqual([
      [0, "group", "Table"],
      [0, "group", "Code"],
    ]);
  });

  it("keeps tables, code and lists", () => {
    const c = html("| a | b |\n|---|---|\n| 1 | 2 |\n\n`x`\n\n- [x] done");
    expect(c.querySelector("table")).not.toBeNull();
    expect(c.querySelector("code")?.textContent).toBe("x");
    expect(c.textContent).toContain("☑");
  });
});
