import { Button } from "@mantine/core";
import { memo, type ReactNode, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import type { ApprovalChange, ToolCall } from "../api/types";
import { absolute, clock, day } from "../text/time";
import { inert, inertLines } from "../text/visible";
import { DownIcon } from "../ui/icons";
import { Empty, LoadingRows, Scroll } from "../ui/parts";
import { SafeMarkdown } from "../ui/SafeMarkdown";
import { InvestigationMark, SeverityShape, StatusMark } from "../ui/state";
import { Call, type Focus, OfIncident } from "./Call";
import { callKey, type CallRow, folded, type Row, type Timeline as Data } from "./rows";
import type { StreamState } from "./stream";
import css from "./Timeline.module.css";

/** The newest rows are drawn first; earlier ones when asked for. */
const batch = 300;

const words: Record<StreamState, string> = {
  connecting: "Connecting",
  live: "Live",
  retrying: "Reconnecting",
  offline: "Offline",
  gone: "Not available",
};

interface TimelineProps {
  /** The id of the incident that it is of. */
  incident: string;
  data: Data;
  state: StreamState;
  calls: ToolCall[];
  /** The run that may still act, if any. */
  liveRun: string;
  focus: Focus | null;
  /** The last event that the incident had when the page was opened. */
  baseline: number;
  /** What stands below the newest row, and is seen with it. */
  children?: ReactNode;
}

/** What happened, oldest first, growing at its end. */
export function Timeline({ incident, data, state, calls, liveRun, focus, baseline, children }: TimelineProps) {
  const { top: rows, below } = useMemo(() => folded(data), [data]);
  const records = useMemo(() => new Map(calls.map((c) => [callKey(c.run_id ?? "", c.id), c])), [calls]);
  const [limit, setLimit] = useState(batch);
  const focused = focus ? rows.findIndex((r) => r.key === focus.key) : -1;
  const from = Math.max(0, Math.min(rows.length - limit, focused < 0 ? Infinity : focused - 5));

  const end = useRef<HTMLDivElement>(null);
  const { fresh, toEnd } = useFresh(end, rows, baseline);

  return (
    <OfIncident value={incident}>
      <section aria-label="Timeline">
        <div className={css.head}>
          <h2>Timeline</h2>
          <span className={css.live} data-state={state} role="status">
            {words[state]}
          </span>
        </div>
        {rows.length === 0 ? (
          state === "connecting" ? (
            <LoadingRows rows={5} />
          ) : state === "gone" ? (
            <Empty title="The timeline cannot be read" />
          ) : (
            <Empty title="Nothing has happened yet">Alerts, the agent's steps and people's decisions appear here as they happen.</Empty>
          )
        ) : (
          <>
            {from > 0 && (
              <div className={css.earlier}>
                <Button variant="default" size="compact-sm" onClick={() => setLimit(limit + 4 * batch)}>
                  Show {Math.min(from, 4 * batch).toLocaleString()} earlier of {from.toLocaleString()}
                </Button>
              </div>
            )}
            <div className={css.list}>
              {rows.slice(from).map((row, i) => {
                const before = rows[from + i - 1];
                const newDay = before === undefined ? day(row.at) !== day(new Date().toISOString()) : row.at.slice(0, 10) !== before.at.slice(0, 10) && day(row.at) !== day(before.at);
                return (
                  <Entry
                    key={row.key}
                    row={row}
                    newDay={newDay}
                    record={row.row === "call" ? records.get(row.key) : undefined}
                    focus={focus?.key === row.key ? focus : null}
                    running={row.runId !== "" && row.runId === liveRun}
                    below={below}
                    records={records}
                  />
                );
              })}
            </div>
          </>
        )}
        {children}
        <div ref={end} />
        {fresh > 0 && (
          <button type="button" className={css.pill} onClick={toEnd}>
            <DownIcon size={15} /> {fresh} new
          </button>
        )}
      </section>
    </OfIncident>
  );
}

/**
 * Counts the rows that have come since the end was last on the screen. While
 * it is on the screen, the page follows what is added.
 */
function useFresh(end: React.RefObject<HTMLDivElement | null>, rows: Row[], baseline: number) {
  const [atEnd, setAtEnd] = useState(false);
  const [seen, setSeen] = useState(baseline);
  const follow = useRef(false);
  const newest = rows.at(-1)?.seq ?? 0;

  useEffect(() => {
    if (!end.current) return;
    const observer = new IntersectionObserver(([entry]) => entry && setAtEnd(entry.isIntersecting), { rootMargin: "0px 0px 120px" });
    observer.observe(end.current);
    // Only who scrolls to the end follows it; a short page is not pulled about.
    const onScroll = () => {
      const page = document.documentElement;
      follow.current = page.scrollHeight - window.scrollY - window.innerHeight < 120 && window.scrollY > 0;
    };
    addEventListener("scroll", onScroll, { passive: true });
    return () => {
      observer.disconnect();
      removeEventListener("scroll", onScroll);
    };
  }, [end]);

  if (atEnd && seen < newest) setSeen(newest);
  useLayoutEffect(() => {
    if (follow.current) end.current?.scrollIntoView({ block: "end" });
  }, [end, rows]);

  const fresh = useMemo(() => {
    if (atEnd) return 0;
    let n = 0;
    for (let i = rows.length - 1; i >= 0 && (rows[i]?.seq ?? 0) > Math.max(seen, baseline); i--) n++;
    return n;
  }, [atEnd, rows, seen, baseline]);
  const toEnd = useCallback(() => {
    follow.current = true;
    end.current?.scrollIntoView({ block: "end" });
  }, [end]);
  return { fresh, toEnd };
}

interface EntryProps {
  row: Row;
  newDay: boolean;
  record: ToolCall | undefined;
  focus: Focus | null;
  running: boolean;
  /** What the runs did that calls have asked for, by call. */
  below: ReadonlyMap<string, Row[]>;
  records: ReadonlyMap<string, ToolCall>;
}

/** An entry is drawn again when it has changed, or when something below it has. */
function same(a: EntryProps, b: EntryProps): boolean {
  const asks = b.row.row === "call" && b.row.asked !== null;
  return (
    a.row === b.row && a.newDay === b.newDay && a.record === b.record && a.focus === b.focus && a.running === b.running && (!asks || (a.below === b.below && a.records === b.records))
  );
}

const Entry = memo(function Entry({ row, newDay, record, focus, running, below, records }: EntryProps) {
  return (
    <>
      {newDay && <div className={css.day}>{day(row.at)}</div>}
      <div className={css.row} data-row={row.row} data-seq={row.seq} data-key={row.key}>
        <time className={css.time} dateTime={row.at} title={absolute(row.at)}>
          {clock(row.at)}
        </time>
        <div>
          {content(row, record, focus, running)}
          {row.row === "call" && row.asked && <Asked row={row} running={running} below={below} records={records} />}
        </div>
      </div>
    </>
  );
}, same);

/** What another agent did that a call has asked, folded. */
function Asked({ row, running, below, records }: { row: CallRow; running: boolean; below: ReadonlyMap<string, Row[]>; records: ReadonlyMap<string, ToolCall> }) {
  const [open, setOpen] = useState(false);
  const rows = below.get(row.key) ?? [];
  const asked = row.asked;
  if (!asked) return null;
  const ended = rows.findLast((r) => r.row === "run" && r.kind === "run.ended");
  const child = row.result?.child;
  return (
    <details className={css.asked} open={open} onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>
        <span>
          Agent <strong>{inert(asked.agent)}</strong>
        </span>
        {ended?.row === "run" ? <InvestigationMark value={ended.change.state} /> : running && <span className="faint">is at work</span>}
        <span className={css.task}>{inert(asked.task)}</span>
        {child && <span className="faint num">{`${child.turns} turns, ${(child.input_tokens + child.output_tokens).toLocaleString()} tokens`}</span>}
      </summary>
      {open && (
        <div className={css.list}>
          {rows.length > batch && <p className="faint">Its newest {batch} entries.</p>}
          {rows.slice(-batch).map((r) => (
            <Entry
              key={r.key}
              row={r}
              newDay={false}
              record={r.row === "call" ? records.get(r.key) : undefined}
              focus={null}
              running={running && !ended}
              below={below}
              records={records}
            />
          ))}
        </div>
      )}
    </details>
  );
}

function content(row: Row, record: ToolCall | undefined, focus: Focus | null, running: boolean): ReactNode {
  switch (row.row) {
    case "call":
      return <Call row={row} record={record} focus={focus} running={running} />;
    case "text":
      if (row.open) return <div className={`${css.text} ${css.draft}`}>{inertLines(row.text)}</div>;
      if (row.text.trim() === "") return <span className="faint">(no words)</span>;
      return (
        <div className={`${css.text} ${row.interrupted ? css.interrupted : ""}`}>
          <SafeMarkdown text={row.text} />
          {row.interrupted && <p className="faint">Interrupted; the agent went on below.</p>}
        </div>
      );
    case "alert":
      return (
        <div className={css.fact}>
          <SeverityShape value={row.alert.severity} />
          <span>Alert {row.kind.slice("alert.".length)}</span>
          <strong>{inert(row.alert.title)}</strong>
          {row.alert.host && <span>{inert(row.alert.host)}</span>}
          {row.alert.reason && <span>{inert(row.alert.reason)}</span>}
        </div>
      );
    case "incident":
      return (
        <div className={css.fact}>
          <span>Incident {row.kind.slice("incident.".length)}</span>
          {row.kind === "incident.changed" && row.change.status && <StatusMark value={row.change.status} />}
          {row.change.reason && row.change.reason !== "by hand" && <span>{inert(row.change.reason)}</span>}
          <By actor={row.actor} />
        </div>
      );
    case "run":
      return (
        <div className={css.fact}>
          {row.kind === "run.queued" && <span>Investigation queued</span>}
          {row.kind === "run.started" && (
            <span>
              Investigation {(row.change.epoch ?? 1) > 1 ? "taken over" : "started"}
              {row.change.worker && ` by ${inert(row.change.worker)}`}
            </span>
          )}
          {row.kind === "run.requeued" && <span className={css.notice}>{row.change.worker ? "The worker was lost; another one takes over" : "The investigation goes on"}</span>}
          {row.kind === "run.parked" && <span>It waits for a decision, and frees its worker</span>}
          {row.kind === "run.ended" && (
            <>
              <span>Investigation ended</span>
              <InvestigationMark value={row.change.state} />
            </>
          )}
          {row.change.reason && <span>{inert(row.change.reason)}</span>}
          <By actor={row.actor} />
        </div>
      );
    case "approval": {
      const what = row.change.command || row.change.tool;
      return (
        <div className={`${css.fact} ${row.change.by === gatekeeper ? css.notice : ""}`}>
          <span>{row.kind === "approval.requested" ? "Asks for approval:" : row.change.by === gatekeeper ? "Approved by the AI review, no person was asked:" : decided[row.change.state]}</span>
          <code className={css.command}>{inert(what)}</code>
          {row.change.target && <span>on {inert(row.change.target)}</span>}
          {row.change.by && row.change.by !== gatekeeper && <span className="faint">by {inert(row.change.by)}</span>}
          {row.change.reason && <span>{inert(row.change.reason)}</span>}
        </div>
      );
    }
    case "notice":
      return <div className={`${css.fact} ${css.notice}`}>{inert(row.text)}</div>;
    case "said":
      return (
        <div className={css.said}>
          <span className="faint">
            {person(row.actor)} to the agent{row.read ? "" : running ? ", which has not read it yet" : ""}
          </span>
          <p>{inertLines(row.text)}</p>
        </div>
      );
    case "feedback":
      return (
        <div className={css.fact}>
          <span>Findings judged</span>
          <strong>{judged[row.feedback.verdict]}</strong>
          <span className="faint">by {person(row.feedback.by)}</span>
          {row.feedback.comment && <span>{inertLines(row.feedback.comment)}</span>}
        </div>
      );
    case "briefing":
      return (
        <details className={css.folded}>
          <summary>What the agent was told about the incident</summary>
          <Scroll pre label="What the agent was told">
            {inertLines(row.text)}
          </Scroll>
        </details>
      );
    case "thought":
      return (
        <details className={css.folded}>
          <summary>What the model thought</summary>
          <Scroll pre label="What the model thought">
            {inertLines(row.text)}
          </Scroll>
        </details>
      );
    case "compaction":
      return (
        <details className={css.folded}>
          <summary>
            The conversation was shortened for the model, from about {row.compaction.before.toLocaleString()} to {row.compaction.after.toLocaleString()} tokens. Nothing
            is lost.
          </summary>
          <Scroll pre label="What the model was given in its place">
            {row.compaction.summary ? inertLines(row.compaction.summary) : "Older output is named by its call and no longer shown to it."}
          </Scroll>
        </details>
      );
    case "findings":
      return (
        <div className={css.fact}>
          <a href="#findings">Findings</a>
          <strong>{inert(row.finding.summary || row.finding.root_cause)}</strong>
        </div>
      );
  }
}

/** Who approves what a model has rated; see the approvals. */
const gatekeeper = "service:gatekeeper";

const decided: Record<ApprovalChange["state"], string> = {
  pending: "One more must approve:",
  approved: "Approved:",
  denied: "Denied:",
  expired: "Not decided in time:",
  void: "No longer wanted:",
};

const judged = { right: "right", wrong: "wrong", partly: "partly right" } as const;

/** "user:ann" reads "ann". */
function person(actor: string): string {
  return inert(actor.replace(/^user:/, ""));
}

/** "user:ann" reads "by ann". A source is named in the header, and its id would say nothing here. */
function By({ actor }: { actor: string }) {
  const [, kind = "", name = ""] = /^(\w+):(.*)$/s.exec(actor) ?? [];
  if (actor === "" || kind === "source" || kind === "agent") return null;
  return <span className="faint">by {kind === "user" ? inert(name) : kind === "token" ? `the token ${inert(name)}` : inert(actor)}</span>;
}
