import { MantineProvider } from "@mantine/core";
import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import type { Finding, RunFinding } from "../api/types";
import { Findings } from "./Findings";

const finding: Finding = {
  summary: "The disk is full.",
  root_cause: "The journal has no limit.",
  confidence: 0.92,
  evidence: [{ call: "c3", excerpt: "41G /var/log/journal" }],
  hypotheses: [{ statement: "WAL piled up.", verdict: "refuted", evidence: [{ call: "c2" }] }],
  actions: [{ title: "Shrink it.", target: "db-1", command: "journalctl --vacuum-size=1G\u200b\n" }],
  conclusive: true,
  dropped: ["root cause cites c9, which is no finished call of this run"],
};
const found = (change: Partial<Finding> = {}, run = "r"): RunFinding => ({ run_id: run, at: "2026-01-01T03:00:00Z", finding: { ...finding, ...change } });

function show(findings: RunFinding[], onCite = vi.fn()) {
  render(
    <MantineProvider>
      <Findings findings={findings} onCite={onCite} />
    </MantineProvider>,
  );
  return onCite;
}

describe("Findings", () => {
  it("leads from a citation to its call and words", async () => {
    const onCite = show([found()]);
    await userEvent.click(screen.getByText("41G /var/log/journal"));
    expect(onCite).toHaveBeenCalledWith({ key: "call-r-c3", excerpt: "41G /var/log/journal" });
  });

  it("says what was dropped and how sure the model is", () => {
    show([found()]);
    expect(screen.getByText("1 claim was dropped for want of evidence")).toBeTruthy();
    expect(screen.getByText("92 %")).toBeTruthy();
    expect(screen.getByText("Refuted")).toBeTruthy();
  });

  it("offers a command without what cannot be seen, and says so", () => {
    show([found()]);
    expect(screen.getByLabelText("the command").textContent).toBe("journalctl --vacuum-size=1G");
    expect(screen.getByText(/Invisible characters were taken out/)).toBeTruthy();
  });

  it("claims no cause that does not stand on evidence", () => {
    show([found({ conclusive: false, root_cause: "", evidence: [] })]);
    expect(screen.getByText("Not conclusive")).toBeTruthy();
    expect(screen.getByText(/No root cause stands on evidence/)).toBeTruthy();
    expect(screen.queryByText("92 %")).toBeNull();
  });

  it("shows the newest in full and the rest folded", () => {
    show([found({ root_cause: "New." }, "r2"), found({ root_cause: "Old." }, "r1")]);
    expect(screen.getByText("1 earlier investigation")).toBeTruthy();
    expect(screen.getByText("Old.").closest("details")?.open).toBe(false);
  });

  it("is nothing without findings", () => {
    show([]);
    expect(screen.queryByText("Findings")).toBeNull();
  });
});

describe("what the rules say of a recommended command", () => {
  it("is a word for each verdict, and nothing where nobody knows", () => {
    const check = (verdict: "allow" | "ask" | "deny") => ({ title: verdict, target: "db-1", command: "df", check: { verdict } });
    show([found({ actions: [check("allow"), check("ask"), check("deny"), { title: "think" }] })]);
    expect(screen.getByText("Agent may")).toBeTruthy();
    expect(screen.getByText("Needs approval")).toBeTruthy();
    expect(screen.getByText("Agent may not")).toBeTruthy();
  });
});
