import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { approvals, incidents } from "../api/calls";
import type { User } from "../api/types";
import { type News, ofApprovals, ofCritical, ofMine, Seen } from "./news";
import { wishes } from "./wishes";

const every = 10_000;

/** Tells of what happens while the page is hidden, as far as this browser's user has asked for it. */
export function Notifier({ user }: { user: User }) {
  const wish = useSyncExternalStore(wishes.watch, wishes.get);
  const reads = user.actions.includes("read");
  return (
    <>
      {reads && wish.critical && <Watch name="critical" look={async (signal) => ofCritical((await incidents.list({ status: "triggered", severity: "critical", limit: 50 }, { signal })).items)} />}
      {reads && wish.approval && user.actions.includes("approvals.decide") && (
        <Watch name="approval" look={async (signal) => ofApprovals((await approvals.list({ state: "pending", limit: 50 }, { signal })).items)} />
      )}
      {reads && wish.mine && <Watch name="mine" look={async (signal) => ofMine((await incidents.list({ assignee: [user.username], limit: 50 }, { signal })).items)} />}
    </>
  );
}

function Watch({ name, look }: { name: string; look: (signal: AbortSignal) => Promise<News[]> }) {
  const navigate = useNavigate();
  const [seen] = useState(() => new Seen());
  const go = useRef(navigate);
  useEffect(() => {
    go.current = navigate;
  });
  const query = useQuery({
    queryKey: ["notify", name],
    queryFn: ({ signal }) => look(signal),
    refetchInterval: every,
    refetchIntervalInBackground: true,
    staleTime: 0,
    gcTime: 0,
  });
  useEffect(() => {
    if (!query.data) return;
    for (const news of seen.fresh(query.data)) if (document.hidden) show(news, (to) => void go.current({ to }));
  }, [query.data, seen]);
  return null;
}

function show(news: News, go: (to: string) => void): void {
  if (!("Notification" in globalThis) || Notification.permission !== "granted") return;
  try {
    const shown = new Notification(news.title, { body: news.body, tag: news.key, icon: "/favicon.svg" });
    shown.onclick = () => {
      window.focus();
      go(news.to);
      shown.close();
    };
  } catch {
    // Some phones show notifications for installed pages alone.
  }
}
