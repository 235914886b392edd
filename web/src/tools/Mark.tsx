import { Chip } from "../ui/state";
import type { Entry, ServerTool } from "./draft";

const words: Record<Entry["state"], { word: string; tone: "quiet" | "warning" | "critical" }> = {
  ready: { word: "Ready", tone: "quiet" },
  off: { word: "Off", tone: "quiet" },
  new: { word: "Not accepted", tone: "warning" },
  changed: { word: "Changed: hidden", tone: "critical" },
  gone: { word: "Gone", tone: "quiet" },
  unusable: { word: "Unusable", tone: "critical" },
};

/** Why agents do not have a tool. Of one that they have there is nothing to say. */
export function Mark({ state }: { state: Entry["state"] }) {
  if (state === "ready") return null;
  return <Chip tone={words[state].tone}>{words[state].word}</Chip>;
}

/** What a tool of a server is, as the api says it too. */
export function stateOf(t: ServerTool): Entry["state"] {
  if (!t.http && t.gone) return "gone";
  if (t.problem) return "unusable";
  if (!t.http && !t.accepted) return "new";
  if (t.offered) return "changed";
  return t.enabled ? "ready" : "off";
}

/** Whether somebody accepted it, and it has changed since. */
export const needsLook = (t: ServerTool): boolean => t.accepted !== undefined && (t.offered !== undefined || t.gone === true);
