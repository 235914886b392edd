import type { Approval, Incident } from "../api/types";
import { inert } from "../text/visible";

/** What this browser may be told of while the page is hidden. All is off until somebody turns it on here. */
export interface Wishes {
  critical: boolean;
  approval: boolean;
  mine: boolean;
}

export const none: Wishes = { critical: false, approval: false, mine: false };
const place = "akmatori-notify";

export function readWishes(storage: Pick<Storage, "getItem">): Wishes {
  try {
    const kept: unknown = JSON.parse(storage.getItem(place) ?? "");
    const on = (name: keyof Wishes) => typeof kept === "object" && kept !== null && (kept as Record<string, unknown>)[name] === true;
    return { critical: on("critical"), approval: on("approval"), mine: on("mine") };
  } catch {
    return none;
  }
}

export function keepWishes(storage: Pick<Storage, "setItem">, wishes: Wishes): void {
  storage.setItem(place, JSON.stringify(wishes));
}

/** Something to tell, once. */
export interface News {
  key: string;
  title: string;
  body: string;
  to: string;
}

export function ofCritical(items: Incident[]): News[] {
  return items.map((i) => ({ key: `critical ${i.id} ${i.reopened ?? 0}`, title: `Critical: #${i.number}`, body: inert(i.title), to: `/incidents/${i.number}` }));
}

export function ofApprovals(items: Approval[]): News[] {
  return items.map((a) => ({ key: `approval ${a.id}`, title: "The agent asks for approval", body: inert(`${a.command || a.tool}${a.target ? ` on ${a.target}` : ""}`), to: "/approvals" }));
}

const ends: Partial<Record<string, string>> = { concluded: "found a cause", inconclusive: "found no cause that it can prove", failed: "failed" };

/** Of the incidents of somebody, those whose investigation has ended. */
export function ofMine(items: Incident[]): News[] {
  return items.flatMap((i) => {
    const how = ends[i.investigation ?? ""];
    return how ? [{ key: `mine ${i.id} ${i.run_id ?? ""}`, title: `#${i.number}: the investigation ${how}`, body: inert(i.title), to: `/incidents/${i.number}` }] : [];
  });
}

/** Remembers what was there: what is there at the first look is no news, and nothing is news twice. */
export class Seen {
  private readonly keys = new Set<string>();
  private looked = false;

  fresh(all: News[]): News[] {
    const fresh = this.looked ? all.filter((n) => !this.keys.has(n.key)) : [];
    this.looked = true;
    for (const n of all) this.keys.add(n.key);
    // Old ones do not come again: a list holds what is newest.
    for (const key of this.keys) {
      if (this.keys.size <= most) break;
      this.keys.delete(key);
    }
    return fresh;
  }
}

const most = 2000;
