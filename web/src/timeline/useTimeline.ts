import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { incidents } from "../api/calls";
import type { TimelineEvent } from "../api/types";
import { emptyTimeline, RowBuilder, type Timeline } from "./rows";
import { followTimeline, type StreamState } from "./stream";

/** What each kind of event makes stale. */
function staleAfter(kind: TimelineEvent["kind"]): string[] {
  switch (kind) {
    case "tool.call":
    case "tool.result":
      return ["calls"];
    case "alert.firing":
    case "alert.acknowledged":
    case "alert.updated":
    case "alert.resolved":
      return ["alerts", ""];
    case "findings":
      return ["findings", ""];
    case "feedback":
      return ["feedback"];
    case "agent.asked":
      return ["runs"];
    case "run.queued":
    case "run.started":
    case "run.requeued":
    case "run.ended":
      return ["calls", "runs", "findings", ""];
    case "incident.opened":
    case "incident.resolved":
    case "incident.reopened":
    case "incident.changed":
      return [""];
    case "incident.merged":
    case "incident.split":
      return ["alerts", ""];
    default:
      return [];
  }
}

/**
 * Follows the timeline for as long as the page is open and refreshes what an
 * event makes stale. Events up to the baseline were there before the page
 * asked for anything else, so they make nothing stale.
 */
export function useTimeline(id: string, baseline: number): { timeline: Timeline; state: StreamState } {
  const client = useQueryClient();
  const [timeline, setTimeline] = useState<Timeline>(emptyTimeline);
  const [state, setState] = useState<StreamState>("connecting");

  useEffect(() => {
    const builder = new RowBuilder();
    setTimeline(emptyTimeline);
    // Many events in a row refresh once.
    const stale = new Set<string>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const refresh = () => {
      timer = undefined;
      for (const part of stale) {
        void client.invalidateQueries({ queryKey: part ? ["incident", id, part] : ["incident", id], exact: true });
      }
      stale.clear();
    };
    const stop = followTimeline({
      url: incidents.streamURL(id),
      onState: setState,
      onSignedOut: () => void client.invalidateQueries({ queryKey: ["incident", id] }),
      onEvents: (events) => {
        setTimeline(builder.add(events));
        for (const event of events) {
          if (event.seq > baseline) for (const part of staleAfter(event.kind)) stale.add(part);
        }
        if (stale.size > 0) timer ??= setTimeout(refresh, 250);
      },
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [client, id, baseline]);

  return { timeline, state };
}
