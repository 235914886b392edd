import { createContext, memo, useContext, useEffect, useRef, useState } from "react";
import { incidents } from "../api/calls";
import type { ToolCall } from "../api/types";
import { clock, span } from "../text/time";
import { hasHidden, inert, inertLines, pasteable } from "../text/visible";
import { ChevronIcon } from "../ui/icons";
import { Copy, useNow } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./Call.module.css";
import { Output } from "./Output";
import type { CallRow } from "./rows";
import { fileCall } from "./workspace";

/** What a citation points to. A new object marks again. */
export interface Focus {
  key: string;
  excerpt?: string;
}

/** The id of the incident that calls are shown of. */
export const OfIncident = createContext("");

interface CallProps {
  row: CallRow;
  /** As the gateway has recorded it; absent until it has. */
  record: ToolCall | undefined;
  focus: Focus | null;
  /** The run can still act, so a call without a result is under way. */
  running: boolean;
}

/** One tool call: what was run where, whether it was allowed and by what, and what it gave. */
export const Call = memo(function Call({ row, record, focus, running }: CallProps) {
  const cited = focus?.key === row.key ? focus : null;
  const live = row.live !== "";
  const [chosen, setChosen] = useState<boolean | null>(null);
  // Live output opens the row and its end does not close it: nothing jumps.
  const [wasLive, setWasLive] = useState(false);
  if (live && running && !wasLive) setWasLive(true);
  const open = chosen ?? wasLive;
  const box = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (cited) setChosen(true);
  }, [cited]);
  useEffect(() => {
    if (!cited || !open) return;
    const line = box.current?.querySelector<HTMLElement>('[data-cited="true"][data-n]');
    const scroll = line?.closest<HTMLElement>('[role="region"]');
    if (line && scroll) scroll.scrollTop = line.offsetTop - scroll.offsetTop - scroll.clientHeight / 3;
    (line ?? box.current)?.scrollIntoView({ block: "center" });
    box.current?.querySelector<HTMLElement>("button")?.focus({ preventScroll: true });
  }, [cited, open]);

  const result = row.result ?? record?.result ?? null;
  const file = record?.command ? undefined : fileCall(row.name || record?.tool || "", row.arguments);
  const command = record?.command || file?.line || commandOf(row.arguments) || row.name;
  const whole = file?.whole ?? command;
  const incident = useContext(OfIncident);
  const kept = incident && record?.run_id && record.kept ? { url: incidents.outputURL(incident, record.run_id, record.id), bytes: record.kept } : undefined;
  const target = result?.target || record?.target || field(row.arguments, "target") || field(row.arguments, "host");
  const name = row.name || record?.tool || "tool";
  return (
    <div ref={box} id={row.key} className={css.call} data-call={row.id} data-cited={cited ? true : undefined}>
      <button type="button" className={css.summary} aria-expanded={open} onClick={() => setChosen(!open)}>
        <span className={css.chevron}>
          <ChevronIcon size={14} />
        </span>
        <span className={css.id}>{inert(row.id)}</span>
        {target && <span className={css.target}>{inert(target)}</span>}
        <code className={css.command} title={inert(command)}>
          {inert(command)}
        </code>
        <span className={css.facts}>
          {record?.verdict && <VerdictChip verdict={record.verdict} rule={record.rule} />}
          <State row={row} record={record} running={running} />
        </span>
      </button>
      {open && (
        <div className={css.body}>
          <code className={css.whole}>
            {inertLines(whole)}
            <span>
              <Copy text={pasteable(whole)} label={file ? "Copy the call" : "Copy the command"} />
            </span>
          </code>
          {hasHidden(whole) && <span className={css.odd}>The command holds characters that are not visible; they are shown in place.</span>}
          <div className={css.why}>
            <span>
              Tool <code>{inert(name)}</code>
            </span>
            {record?.verdict && (
              <span>
                Verdict <code>{inert(record.verdict)}</code>
                {record.rule ? (
                  <>
                    {" "}
                    by <code>{inert(record.rule)}</code>
                  </>
                ) : (
                  ", no rule names it"
                )}
              </span>
            )}
            {row.started && <span>Started {clock(row.at)}</span>}
            {!file && hasMore(row.arguments) && (
              <span>
                Arguments <code>{inert(JSON.stringify(row.arguments))}</code>
              </span>
            )}
          </div>
          {result ? (
            <Output text={result.text} name={`${row.id}-${target || name}`} truncated={result.truncated} whole={kept} excerpt={cited?.excerpt} />
          ) : live ? (
            <Output text={row.live} name={`${row.id}-${target || name}`} live />
          ) : (
            <span className="faint">{running ? "No output yet." : "The investigation ended before this call gave a result."}</span>
          )}
        </div>
      )}
    </div>
  );
});

function VerdictChip({ verdict, rule }: { verdict: string; rule?: string }) {
  const title = rule ? `by ${inert(rule)}` : "no rule names it";
  if (verdict === "allow") return <Chip tone="quiet" title={title}>Allowed</Chip>;
  if (verdict === "deny") return <Chip tone="critical" title={title}>Denied</Chip>;
  if (verdict === "ask") return <Chip tone="warning" title={title}>Must be asked</Chip>;
  return <Chip tone="quiet">{inert(verdict)}</Chip>;
}

function State({ row, record, running }: { row: CallRow; record: ToolCall | undefined; running: boolean }) {
  const result = row.result ?? record?.result;
  if (!result) {
    if (!running) return <span className={css.odd}>no result</span>;
    if (row.asks) return <span className={css.odd}>waits for a decision</span>;
    return row.started ? <Running since={row.at} /> : <span>waiting</span>;
  }
  const took = <span>{span(result.duration_ns / 1e6)}</span>;
  if (result.state === "denied") return <span className={css.bad}>not run</span>;
  if (result.state === "unknown") {
    return (
      <span className={css.odd} title="Who ran it was lost meanwhile. It is never run a second time.">
        outcome unknown
      </span>
    );
  }
  const code = result.exit_code;
  if (code === undefined || code === null) {
    return (
      <>
        <span className={result.state === "failed" ? css.bad : css.ok}>{result.state === "failed" ? "failed" : "done"}</span>
        {took}
      </>
    );
  }
  return (
    <>
      <span className={code === 0 ? css.ok : css.bad}>exit {code}</span>
      {took}
    </>
  );
}

function Running({ since }: { since: string }) {
  const now = useNow();
  const seconds = Math.floor((now - Date.parse(since)) / 1000);
  return <span className={css.going}>running{seconds > 0 && ` ${span(seconds * 1000)}`}</span>;
}

/** Until the gateway has its canonical form, the command is what the model asked for. */
function commandOf(args: unknown): string {
  const agent = field(args, "agent");
  if (agent && field(args, "task")) return `ask ${agent}`;
  return field(args, "command") || field(args, "cmd") || (args && Object.keys(args).length > 0 ? JSON.stringify(args) : "");
}

/** Says whether there are arguments that the row does not show anyway. */
function hasMore(args: unknown): boolean {
  return typeof args === "object" && args !== null && Object.keys(args).some((name) => name !== "command" && name !== "target");
}

function field(args: unknown, name: string): string {
  const value = args && typeof args === "object" ? (args as Record<string, unknown>)[name] : undefined;
  return typeof value === "string" ? value : "";
}
