import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { act, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { approvals } from "../api/calls";
import { ApiError } from "../api/client";
import type { Approval } from "../api/types";
import { ApprovalCard, gatekeeper, subjectOf } from "./Card";

const asked: Approval = {
  id: "a1",
  run_id: "r1",
  call_id: "c2",
  incident_id: "i1",
  agent: "investigator",
  requester: "service:intake",
  tool: "ssh_execute",
  target: "db-1",
  command: "systemctl restart nginx",
  arguments: { target: "db-1", command: "systemctl  restart nginx" },
  risk: "medium",
  effect: "changes",
  reasons: ["no rule matches"],
  facts: { digest: "d1", host_key: "ssh-ed25519 SHA256:abc" },
  needed: 1,
  state: "pending",
  created_at: "2026-01-01T03:00:00Z",
  expires_at: "2026-01-01T04:00:00Z",
  decisions: [],
};

/** Says that the end of every box has come on the screen. */
let show: () => void;

beforeEach(() => {
  const told = new Set<(entries: { isIntersecting: boolean }[]) => void>();
  show = () => act(() => told.forEach((tell) => tell([{ isIntersecting: true }])));
  vi.stubGlobal(
    "IntersectionObserver",
    class {
      constructor(private readonly tell: (entries: { isIntersecting: boolean }[]) => void) {}
      observe() {
        told.add(this.tell);
      }
      disconnect() {
        told.delete(this.tell);
      }
    },
  );
});
afterEach(() => vi.unstubAllGlobals());

function card(change: Partial<Approval> = {}, props: { who?: string; mayDecide?: boolean; keys?: boolean } = {}) {
  const decide = vi.spyOn(approvals, "decide").mockResolvedValue(asked);
  render(
    <MantineProvider>
      <QueryClientProvider client={new QueryClient()}>
        <ApprovalCard approval={{ ...asked, ...change }} who={props.who ?? "ann"} mayDecide={props.mayDecide ?? true} keys={props.keys} />
      </QueryClientProvider>
    </MantineProvider>,
  );
  return decide;
}

const button = (name: string) => screen.queryByRole<HTMLButtonElement>("button", { name });

describe("ApprovalCard", () => {
  it("F5 approves only what was on the screen to its end, and names what was looked at", async () => {
    const decide = card();
    expect(button("Approve")?.disabled).toBe(true);
    expect(button("Deny")?.disabled).toBe(false);
    show();
    await userEvent.click(button("Approve")!);
    expect(decide).toHaveBeenCalledExactlyOnceWith("a1", { decision: "approve", digest: "d1" });
  });

  it("K8 names every agent on the way of a request, and whom it is for", () => {
    card({ agent: "reviewer", requester: "user:ann", facts: { ...asked.facts, chain: "investigator → reviewer" } });
    expect(screen.getByText("By way of").nextElementSibling?.textContent).toBe("investigator → reviewer");
    expect(screen.getByText("Asked by").nextElementSibling?.textContent).toBe("agent reviewer, for ann");
  });

  it("asks once more above medium risk and before it denies, and says why", async () => {
    const decide = card({ risk: "high" });
    show();
    expect(screen.queryByLabelText("Approve")).toBeNull(); // not for a while
    await userEvent.click(button("Approve")!);
    expect(decide).not.toHaveBeenCalled();
    await userEvent.type(screen.getByLabelText("Reason"), " not on a Friday ");
    await userEvent.click(button("Deny")!);
    await userEvent.click(button("Really deny")!);
    expect(decide).toHaveBeenCalledExactlyOnceWith("a1", { decision: "deny", digest: "d1", reason: "not on a Friday" });
  });

  it("asks for the password in place when the api wants it, and forgets it", async () => {
    const decide = card({ risk: "high" });
    decide.mockRejectedValueOnce(new ApiError(403, "this needs your password once more", ["body.proof"]));
    show();
    await userEvent.click(button("Approve")!);
    expect(screen.queryByLabelText(/^Your password/)).toBeNull();
    await userEvent.click(button("Really approve")!);
    screen.getByText("This needs your password once more.");
    await userEvent.type(await screen.findByLabelText(/^Your password/), "correct horse");
    await userEvent.click(button("Approve")!);
    await userEvent.click(button("Really approve")!);
    expect(decide).toHaveBeenLastCalledWith("a1", { decision: "approve", digest: "d1", proof: "correct horse" });
    expect(screen.queryByDisplayValue("correct horse")).toBeNull();
  });

  it("decides by keys, each pressed twice, and not before the end was seen", async () => {
    const decide = card({}, { keys: true });
    await userEvent.keyboard("yy");
    expect(decide).not.toHaveBeenCalled();
    show();
    await userEvent.keyboard("y{Escape}y");
    expect(decide).not.toHaveBeenCalled();
    await userEvent.keyboard("y");
    expect(decide).toHaveBeenCalledExactlyOnceWith("a1", { decision: "approve", digest: "d1" });
  });

  it("does not take a key that is held for a second press", async () => {
    const decide = card({ risk: "high" }, { keys: true });
    show();
    await userEvent.keyboard("{y>5/}{n>5/}");
    button("Approve")?.focus();
    await userEvent.keyboard("{Enter>5/}");
    expect(decide).not.toHaveBeenCalled();
    await userEvent.keyboard("{Enter}");
    expect(decide).toHaveBeenCalledOnce();
  });

  it("decides nothing where it has come or moved just now", () => {
    vi.useFakeTimers();
    const among = (above: string) => (
      <MantineProvider>
        <QueryClientProvider client={new QueryClient()}>
          <ApprovalCard approval={asked} who="ann" mayDecide above={above} />
        </QueryClientProvider>
      </MantineProvider>
    );
    const { rerender } = render(among(""));
    show();
    const both = () => [button("Approve")?.disabled, button("Deny")?.disabled];
    expect(both()).toEqual([true, true]);
    act(() => vi.advanceTimersByTime(1_000));
    expect(both()).toEqual([false, false]);
    rerender(among("a2"));
    expect(both()).toEqual([true, true]);
    act(() => vi.advanceTimersByTime(900));
    rerender(among("a3,a2"));
    act(() => vi.advanceTimersByTime(900));
    expect(both(), "another came").toEqual([true, true]);
    act(() => vi.advanceTimersByTime(100));
    expect(both()).toEqual([false, false]);
    vi.useRealTimers();
  });

  it("lets nobody approve what they have asked for, unless the risk is low", () => {
    card({ requester: "user:ann" });
    show();
    expect(button("Approve")?.disabled).toBe(true);
    screen.getByText(/asked for this yourself/);
  });

  it("lets the asker approve what is of low risk", () => {
    card({ requester: "user:ann", risk: "low" });
    show();
    expect(button("Approve")?.disabled).toBe(false);
  });

  it("has nothing to press for those who may not, who have, and when it is over", () => {
    card({}, { mayDecide: false });
    card({ decisions: [{ username: "ann", approve: true, at: "2026-01-01T03:01:00Z" }], needed: 2 });
    card({ state: "expired", decided_at: "2026-01-01T04:00:01Z", expires_at: "2026-01-01T04:00:00Z" });
    card({ state: "expired", decided_at: "2026-01-01T03:10:00Z", expires_at: "2026-01-01T03:25:00Z" });
    show();
    expect(button("Approve")).toBeNull();
    expect(button("Deny")).toBeNull();
    screen.getByText("1 of 2");
    screen.getByText(/nobody decided in time/);
    screen.getByText(/approved, but the call came too late/);
  });

  it("F6 writes out what does not show", () => {
    card({ command: "rm \u202efdp.x" });
    screen.getByText(/characters that do not show/);
    expect(screen.getByLabelText("What will run").textContent).toContain("⟨U+202E⟩");
  });
});

describe("an AI review", () => {
  const rated = { state: "rated", risk: "low", reasoning: "it restarts one service", model: "p judge", approved: true, at: "2026-01-01T03:00:05Z" } as const;
  it("shows its rating and its words", () => {
    card({ review: rated });
    expect(screen.getByText("low risk")).toBeTruthy();
    expect(screen.getByText(/it restarts one service/)).toBeTruthy();
  });
  it("says that nobody was asked where it has approved", () => {
    card({ review: rated, state: "approved", decisions: [{ username: gatekeeper, approve: true, reason: "rated low risk", at: "2026-01-01T03:00:05Z" }] });
    expect(screen.getByText(/no person was asked/)).toBeTruthy();
  });
  it("leaves it to people where there is no rating", () => {
    card({ review: { ...rated, state: "failed", reasoning: "the model gave no answer", approved: false } });
    expect(screen.getByText(/the model gave no answer. People decide./)).toBeTruthy();
  });
});

describe("subjectOf", () => {
  it("is the canonical command, or all arguments of a tool without one", () => {
    expect(subjectOf(asked)).toBe("systemctl restart nginx");
    expect(subjectOf({ tool: "x", command: undefined, arguments: { id: "1" } })).toBe('{\n  "id": "1"\n}');
    const edit = { tool: "Edit", command: undefined, arguments: { path: "plan.md", old_string: "a\n", new_string: "b\u202e\n" } };
    expect(subjectOf({ ...edit, workspace: true })).toBe("edit plan.md\n- a\n+ b\u202e");
    expect(subjectOf(edit)).toContain('"old_string"');
  });
});
