/**
 * Every key of the product, by what answers it: useHotkeys takes these and no
 * others, and the help sheet shows them. A blank makes a sequence of two keys.
 */
export const keys = {
  everywhere: {
    "?": "this help",
    "g d": "dashboard",
    "g i": "incidents",
    "g a": "approvals",
    "g f": "alerts",
    "g c": "changes",
    "g u": "usage and cost",
    "g h": "system health",
    "g s": "sources",
    "g r": "grouping rules",
    "g m": "maintenance",
    "g t": "targets",
  },
  incidents: { "/": "search", j: "next", k: "previous", x: "choose it", X: "choose all from the last one to it" },
  chosen: { a: "acknowledge all that are chosen, or this one", Escape: "choose none" },
  alerts: { "/": "search" },
  accounts: { "/": "find a user" },
  incident: { a: "acknowledge", i: "investigate" },
  around: { "[": "newer incident", "]": "older incident", u: "back to the list" },
  approval: { y: "approve the first waiting call, pressed twice", n: "deny it, pressed twice", Escape: "neither, after the first press" },
} as const satisfies Record<string, Record<string, string>>;

export type Answers = keyof typeof keys;

type Line = readonly [key: string, does: string];
const of = (...whose: Answers[]): Line[] => whose.flatMap((w) => Object.entries(keys[w]));

/** What the help sheet shows, with what links, boxes and the palette answer themselves. */
export const sheet: { where: string; lines: Line[] }[] = [
  { where: "Everywhere", lines: [...of("everywhere"), ["Ctrl-K", "go to a page or an incident"], ["Escape", "close what is open"]] },
  { where: "List of incidents", lines: [...of("incidents"), ["Enter", "open it"], ...of("chosen")] },
  { where: "An incident", lines: of("incident", "around") },
  { where: "A call that waits for a decision", lines: of("approval") },
  { where: "Alerts", lines: of("alerts") },
  { where: "Users and roles", lines: of("accounts") },
  {
    where: "Search in an output",
    lines: [
      ["Enter", "next line that has the words"],
      ["Shift-Enter", "previous one"],
      ["Escape", "end it"],
    ],
  },
];
