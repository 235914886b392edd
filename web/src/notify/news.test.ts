import { describe, expect, it } from "vitest";
import type { Approval, Incident } from "../api/types";
import { keepWishes, none, ofApprovals, ofCritical, ofMine, readWishes, Seen } from "./news";

const incident = (more: Partial<Incident>) => ({ id: "i", number: 7, title: "Disk\u202e full", ...more }) as Incident;

describe("wishes", () => {
  it.each([[null], [""], ["{"], ["7"], ["null"], ['{"critical":"yes"}']])("are off for %j", (kept) => expect(readWishes({ getItem: () => kept })).toEqual(none));
  it("are kept", () => {
    let kept = "";
    keepWishes({ setItem: (_, value) => (kept = value) }, { critical: true, approval: false, mine: true });
    expect(readWishes({ getItem: () => kept })).toEqual({ critical: true, approval: false, mine: true });
  });
});

describe("news", () => {
  it("is what was not there at the first look, once", () => {
    const seen = new Seen();
    expect(seen.fresh(ofCritical([incident({})]))).toEqual([]);
    const both = ofCritical([incident({ id: "j", number: 8 }), incident({})]);
    expect(seen.fresh(both).map((n) => n.title)).toEqual(["Critical: #8"]);
    expect(seen.fresh(both)).toEqual([]);
    expect(seen.fresh(ofCritical([incident({ reopened: 1 })]))).toHaveLength(1);
  });
  it("shows no character that hides", () => expect(ofCritical([incident({})])[0]?.body).toBe("Disk⟨U+202E⟩ full"));
  it("tells of investigations that ended, each run once", () => {
    expect(ofMine([incident({ investigation: "running" }), incident({})])).toEqual([]);
    const [first] = ofMine([incident({ investigation: "concluded", run_id: "a" })]);
    const [second] = ofMine([incident({ investigation: "failed", run_id: "b" })]);
    expect(first?.title).toBe("#7: the investigation found a cause");
    expect(second?.key).not.toBe(first?.key);
  });
  it("names the call that is asked for", () => {
    expect(ofApprovals([{ id: "a", tool: "ssh_execute", command: "df -h", target: "db-1" } as Approval])[0]).toMatchObject({ body: "df -h on db-1", to: "/approvals" });
  });
});
