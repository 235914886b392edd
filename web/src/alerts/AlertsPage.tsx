import { Button, Loader, NativeSelect } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import { alerts, sources } from "../api/calls";
import type { FeedAlert } from "../api/types";
import { absolute } from "../text/time";
import { inert } from "../text/visible";
import { useHotkeys } from "../ui/hotkeys";
import { SearchBox } from "../ui/SearchBox";
import { Ago, Empty, LoadingRows, OutLink, Problem, Scroll, useTitle } from "../ui/parts";
import { Chip, SeverityMark } from "../ui/state";
import css from "./alerts.module.css";
import { type AlertSearch, timeOf } from "./feed";

/** How often the feed goes on by itself while it finds too little, so that a rare word is found without a press. */
const byItself = 10;

/** All alerts, whichever incident they are in, the newest first. */
export function AlertsPage() {
  useTitle("Alerts");
  const search = getRouteApi("/signed-in/alerts").useSearch();
  const navigate = useNavigate();
  const box = useRef<HTMLInputElement>(null);
  useHotkeys("alerts", { "/": () => box.current?.focus() });
  const from = useQuery({ queryKey: ["sources"], queryFn: sources.list });
  const query = useInfiniteQuery({
    queryKey: ["alerts", search],
    queryFn: ({ pageParam, signal }) => alerts.list({ ...search, cursor: pageParam, limit: 100 }, { signal }),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor || undefined,
    // What is far back is not fetched again every few seconds.
    refetchInterval: (q) => ((q.state.data?.pages.length ?? 0) > 1 ? false : 5_000),
  });
  const pages = query.data?.pages ?? [];
  const all = pages.flatMap((p) => p.items);
  const { hasNextPage, isFetching, error, fetchNextPage } = query;
  useEffect(() => {
    if (hasNextPage && !isFetching && !error && all.length < 20 && pages.length < byItself) void fetchNextPage();
  }, [hasNextPage, isFetching, error, all.length, pages.length, fetchNextPage]);
  const change = (to: Partial<AlertSearch>) => void navigate({ to: "/alerts", search: { ...search, ...to }, replace: "q" in to });
  const filtered = Object.keys(search).length > 0;
  const back = pages.at(-1)?.next_cursor;
  return (
    <div className={css.page}>
      <header className={css.head}>
        <div>
          <h1>Alerts</h1>
          <p>What senders told, whichever incident it is in.</p>
        </div>
        <div className={css.tools} role="search">
          <SearchBox
            ref={box}
            className={css.search}
            label="Search alerts"
            placeholder="Part of a text, host or label"
            rest={300}
            value={search.q ?? ""}
            onChange={(q) => change({ q: q || undefined })}
          />
          <NativeSelect
            aria-label="State"
            value={search.status ?? ""}
            onChange={(e) => change({ status: e.currentTarget.value || undefined })}
            data={[
              { value: "", label: "Any state" },
              { value: "firing", label: "Firing" },
              { value: "acknowledged", label: "Acknowledged" },
              { value: "resolved", label: "Resolved" },
            ]}
          />
          <NativeSelect
            aria-label="Severity"
            value={search.severity ?? ""}
            onChange={(e) => change({ severity: e.currentTarget.value || undefined })}
            data={[
              { value: "", label: "Any severity" },
              { value: "critical", label: "Critical" },
              { value: "high", label: "High" },
              { value: "warning", label: "Warning" },
              { value: "info", label: "Info" },
            ]}
          />
          <NativeSelect
            aria-label="Source"
            value={search.source ?? ""}
            onChange={(e) => change({ source: e.currentTarget.value || undefined })}
            data={[{ value: "", label: "Any source" }, ...(from.data ?? []).map((s) => ({ value: s.id, label: inert(s.name) }))]}
          />
        </div>
        {(search.label ?? []).length > 0 && (
          <ul className={css.labels} aria-label="Labels asked for">
            {(search.label ?? []).map((l) => (
              <li key={l}>
                <Button size="compact-xs" variant="default" onClick={() => change({ label: search.label?.filter((o) => o !== l) })} aria-label={`Without ${inert(l)}`}>
                  {inert(l)} ×
                </Button>
              </li>
            ))}
          </ul>
        )}
      </header>
      {query.error && all.length > 0 && <Problem what="The feed could not be read on." error={query.error} kept="What is shown is from before." retry={() => void query.refetch()} />}
      {all.length > 0 ? (
        <ul className={css.list}>
          {all.map((a) => (
            <Row key={a.id} alert={a} pick={(label) => change({ label: [...new Set([...(search.label ?? []), label])] })} />
          ))}
        </ul>
      ) : query.error ? (
        <Problem what="The alerts could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : query.isPending ? (
        <LoadingRows rows={10} height={20} />
      ) : hasNextPage || isFetching ? null : filtered ? (
        <Empty title="Nothing matches" more={<Link to="/alerts">Show all alerts</Link>}>
          No alert has all that is asked for.
        </Empty>
      ) : (
        <Empty title="No alerts yet" more={<Link to="/sources">Connect a source</Link>}>
          What a source sends is listed here.
        </Empty>
      )}
      <div className={css.end} role="status">
        {query.isFetchingNextPage ? (
          <>
            <Loader size="xs" aria-hidden="true" /> Looking further back …
          </>
        ) : back ? (
          <>
            <span className="dim">Looked back to {absolute(timeOf(back))}.</span>{" "}
            <Button variant="default" onClick={() => void fetchNextPage()}>
              {filtered ? "Look further back" : "Older alerts"}
            </Button>
          </>
        ) : all.length > 20 ? (
          <span className="dim">That is all of them.</span>
        ) : null}
      </div>
    </div>
  );
}

const states = { firing: { word: "Firing", tone: "critical" }, acknowledged: { word: "Acknowledged", tone: "warning" }, resolved: { word: "Resolved", tone: "good" } } as const;

function Row({ alert: a, pick }: { alert: FeedAlert; pick: (label: string) => void }) {
  const state = states[a.status];
  const labels = Object.entries(a.labels ?? {});
  return (
    <li className={css.row}>
      <div className={css.line}>
        <span className={css.severity}>
          <SeverityMark value={a.severity} />
        </span>
        <span className={css.title}>
          <b>{inert(a.title)}</b> <span className="faint">{inert([a.service, a.host].filter(Boolean).join(" · "))}</span>
        </span>
        <span className={css.facts}>
          <Chip tone={state.tone}>{state.word}</Chip>
          {a.incident ? (
            <Link to="/incidents/$id" params={{ id: String(a.incident) }} className="num">
              #{a.incident}
            </Link>
          ) : (
            <span className="faint" title="It was over before anything was known of it.">
              none
            </span>
          )}
          <span className={css.when}>
            came <Ago at={a.first_seen ?? a.at} suffix=" ago" plain />
          </span>
        </span>
      </div>
      <details className={css.more}>
        <summary>
          {inert(a.source) || "a removed source"}
          {(a.count ?? 1) > 1 && <>, told {(a.count ?? 1).toLocaleString("en")} times</>}
          <span className="sr-only"> , more of {inert(a.title)}</span>
        </summary>
        {a.summary && <p>{inert(a.summary)}</p>}
        {a.description && a.description !== a.summary && <Scroll label="Description" className={css.text}>{inert(a.description)}</Scroll>}
        {labels.length > 0 && (
          <ul className={css.labels} aria-label="Labels">
            {labels.slice(0, 60).map(([k, v]) => (
              <li key={k}>
                <Button size="compact-xs" variant="default" onClick={() => pick(`${k}:${v}`)} aria-label={`Only with ${inert(k)} ${inert(v)}`}>
                  {inert(k)}: {inert(v)}
                </Button>
              </li>
            ))}
          </ul>
        )}
        <p className="dim">
          {a.why && <>{inert(a.why)}. </>}
          Began {absolute(a.starts_at)}
          {a.ends_at && <>, ended {absolute(a.ends_at)}</>}.
        </p>
        {(a.links ?? []).slice(0, 10).map((l) => (
          <p key={l.url}>
            <OutLink url={l.url}>{inert(l.kind || l.url)}</OutLink>
          </p>
        ))}
      </details>
    </li>
  );
}
