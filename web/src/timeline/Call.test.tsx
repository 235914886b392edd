import { MantineProvider } from "@mantine/core";
import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it } from "vitest";
import type { ToolCall } from "../api/types";
import { Call, OfIncident } from "./Call";
import type { CallRow } from "./rows";

const row: CallRow = {
  key: "call-r-c2",
  seq: 1,
  at: "2026-01-01T03:00:00Z",
  runId: "r",
  row: "call",
  id: "c2",
  name: "ssh_execute",
  arguments: { target: "db-1", command: "df  -h" },
  started: true,
  asks: false,
  live: "",
  result: null,
  asked: null,
};
const record: ToolCall = {
  run_id: "r",
  id: "c2",
  tool: "ssh_execute",
  arguments: {},
  command: "df -h",
  target: "db-1",
  verdict: "allow",
  rule: "allow: ssh_execute(df *)",
  state: "done",
  created_at: "2026-01-01T03:00:00Z",
};
const result = { id: "c2", state: "done", text: "Filesystem Use%\n/dev/sda1 100%\n", exit_code: 0, duration_ns: 412e6 } as const;

function show(props: Partial<Parameters<typeof Call>[0]>) {
  return render(
    <MantineProvider>
      <Call row={row} record={undefined} focus={null} running={false} {...props} />
    </MantineProvider>,
  );
}

describe("Call", () => {
  it("shows what the model asked for until the gateway has its canonical form", () => {
    const { unmount } = show({ running: true });
    expect(screen.getByText("df -h", { normalizer: (t) => t.replace(/\s+/g, " ") })).toBeTruthy();
    expect(screen.getByText(/^running/)).toBeTruthy();
    unmount();
    show({ record, row: { ...row, result } });
    expect(screen.getByText("df -h", { normalizer: (t) => t })).toBeTruthy();
    expect(screen.getByText("exit 0")).toBeTruthy();
    expect(screen.getByText("412ms")).toBeTruthy();
  });

  it("leads to the whole output where more is kept than is shown", async () => {
    const kept = { ...record, run_id: "r/../x", kept: 2_100_000 };
    render(
      <MantineProvider>
        <OfIncident value="i1">
          <Call row={{ ...row, result: { ...result, truncated: 2_000_000 } }} record={kept} focus={null} running={false} />
        </OfIncident>
      </MantineProvider>,
    );
    await userEvent.click(screen.getByRole("button", { expanded: false }));
    expect(screen.getByText(/^2,000,000 bytes are left out here/)).toBeTruthy();
    const link = screen.getByRole("link", { name: "Whole output, 2.1 MB" });
    expect(link.getAttribute("href")).toBe("/api/v1/incidents/i1/runs/r%2F..%2Fx/calls/c2/output");
    expect(link.hasAttribute("download")).toBe(true);
  });

  it("opens to the rule and the output", async () => {
    show({ record, row: { ...row, result } });
    expect(screen.queryByText("/dev/sda1 100%")).toBeNull();
    await userEvent.click(screen.getByRole("button", { expanded: false }));
    expect(screen.getByText("allow: ssh_execute(df *)")).toBeTruthy();
    expect(screen.getByText("/dev/sda1 100%")).toBeTruthy();
  });

  it("opens and marks the line that is cited", () => {
    const { container } = show({ record, row: { ...row, result }, focus: { key: row.key, excerpt: "/dev/sda1   100%" } });
    const marked = [...container.querySelectorAll('[data-n][data-cited="true"]')];
    expect(marked.map((line) => line.getAttribute("data-n"))).toEqual(["2"]);
  });

  it("stays open when live output ends, so that nothing jumps", () => {
    const { rerender } = show({ running: true, row: { ...row, live: "Filesystem" } });
    expect(screen.getByText("Output so far")).toBeTruthy();
    rerender(
      <MantineProvider>
        <Call row={{ ...row, result }} record={record} focus={null} running />
      </MantineProvider>,
    );
    expect(screen.getByText("/dev/sda1 100%")).toBeTruthy();
  });

  it.each([
    [{ ...result, state: "denied" } as const, "not run"],
    [{ ...result, state: "unknown" } as const, "outcome unknown"],
    [{ ...result, state: "failed", exit_code: undefined } as const, "failed"],
    [{ ...result, exit_code: 1 } as const, "exit 1"],
  ])("says how it ended: %o", (ended, words) => {
    show({ row: { ...row, result: ended } });
    expect(screen.getByText(words)).toBeTruthy();
  });

  it("says that a call of a dead run has no result", () => {
    show({});
    expect(screen.getByText("no result")).toBeTruthy();
  });
});
