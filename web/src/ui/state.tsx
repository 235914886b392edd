import type { ReactNode } from "react";
import type { IncidentStatus, RunState, Severity, Verdict } from "../api/types";
import css from "./state.module.css";

/** Every state of the product: one word, one shape, one colour, the same everywhere. */

type Tone = "critical" | "high" | "warning" | "info" | "good" | "quiet" | "accent";

interface Look {
  word: string;
  tone: Tone;
  shape: ReactNode;
}

const ring = <circle cx="7" cy="7" r="5.25" fill="none" stroke="currentColor" strokeWidth="1.5" />;
const disc = <circle cx="7" cy="7" r="6" fill="currentColor" />;
const line = (d: string) => (
  <path d={d} fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round" />
);
const cut = (d: string) => (
  <path d={d} fill="none" stroke="var(--panel)" strokeWidth="1.7" strokeLinecap="round" strokeLinejoin="round" />
);

const severities: Record<Severity, Look> = {
  critical: {
    word: "Critical",
    tone: "critical",
    shape: (
      <>
        <path d="M4.2.9h5.6l3.3 3.3v5.6l-3.3 3.3H4.2L.9 9.8V4.2z" fill="currentColor" />
        {cut("M7 3.8v3.6M7 10v.1")}
      </>
    ),
  },
  high: { word: "High", tone: "high", shape: <path d="M7 1.2 13.4 12.6H.6z" fill="currentColor" /> },
  warning: {
    word: "Warning",
    tone: "warning",
    shape: <path d="M7 1.2 12.8 7 7 12.8 1.2 7z" fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinejoin="round" />,
  },
  info: { word: "Info", tone: "info", shape: <circle cx="7" cy="7" r="5" fill="none" stroke="currentColor" strokeWidth="1.8" /> },
};

const statuses: Record<IncidentStatus, Look> = {
  triggered: { word: "Triggered", tone: "critical", shape: <>{ring}<circle cx="7" cy="7" r="2.5" fill="currentColor" /></> },
  acknowledged: { word: "Acknowledged", tone: "warning", shape: <>{ring}<path d="M7 3.4a3.6 3.6 0 0 1 0 7.2z" fill="currentColor" /></> },
  resolved: { word: "Resolved", tone: "good", shape: <>{disc}{cut("m4.3 7.2 1.9 1.9 3.6-4")}</> },
  closed: { word: "Closed", tone: "quiet", shape: <>{ring}{line("M4.6 7h4.8")}</> },
  merged: { word: "Merged", tone: "quiet", shape: line("M3 2v4a3 3 0 0 0 3 3h5M8.5 6.5 11 9l-2.5 2.5") },
};

const dashed = <circle cx="7" cy="7" r="5.25" fill="none" stroke="currentColor" strokeWidth="1.5" strokeDasharray="2.2 1.9" />;

const investigations: Record<RunState, Look> = {
  queued: { word: "Queued", tone: "quiet", shape: dashed },
  running: {
    word: "Running",
    tone: "accent",
    shape: (
      <g className={css.turning}>
        <circle cx="7" cy="7" r="5.25" fill="none" stroke="currentColor" strokeWidth="1.7" strokeDasharray="22 11" strokeLinecap="round" />
      </g>
    ),
  },
  waiting_approval: { word: "Waiting for approval", tone: "high", shape: <>{ring}{line("M7 4.4V7l1.7 1.4")}</> },
  concluded: { word: "Concluded", tone: "good", shape: line("m2.5 7.4 3 3 6-6.6") },
  inconclusive: { word: "Inconclusive", tone: "warning", shape: line("M4.6 4.6a2.4 2.4 0 1 1 3.4 2.2c-.7.3-1 .7-1 1.5M7 11v.1") },
  failed: { word: "Failed", tone: "critical", shape: line("m3.2 3.2 7.6 7.6M10.8 3.2l-7.6 7.6") },
  cancelled: { word: "Cancelled", tone: "quiet", shape: <>{ring}{line("m3.4 10.6 7.2-7.2")}</> },
};

const verdicts: Record<Verdict, Look> = {
  confirmed: { word: "Confirmed", tone: "good", shape: investigations.concluded.shape },
  refuted: { word: "Refuted", tone: "quiet", shape: investigations.failed.shape },
  open: { word: "Open", tone: "info", shape: ring },
};

function unknown(word: string): Look {
  return { word, tone: "quiet", shape: ring };
}

function Mark({ look, chip, title }: { look: Look; chip?: boolean; title?: string }) {
  return (
    <span className={`${css.mark} ${css[look.tone]} ${chip ? css.chip : ""}`} title={title}>
      <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true" focusable="false">
        {look.shape}
      </svg>
      <span>{look.word}</span>
    </span>
  );
}

interface MarkProps<T> {
  value: T;
  chip?: boolean;
}

export function SeverityMark({ value, chip }: MarkProps<Severity>) {
  return <Mark look={severities[value] ?? unknown(value)} chip={chip} />;
}

/** The shape alone, where the word stands elsewhere in the row. */
export function SeverityShape({ value }: { value: Severity }) {
  const look = severities[value] ?? unknown(value);
  return (
    <span className={`${css.mark} ${css[look.tone]}`}>
      <svg width="14" height="14" viewBox="0 0 14 14" role="img" aria-label={look.word}>
        <title>{look.word}</title>
        {look.shape}
      </svg>
    </span>
  );
}

export function StatusMark({ value, chip }: MarkProps<IncidentStatus>) {
  return <Mark look={statuses[value] ?? unknown(value)} chip={chip} />;
}

export function InvestigationMark({ value, chip }: MarkProps<RunState | "" | undefined>) {
  if (!value) return <span className="faint">Not investigated</span>;
  return <Mark look={investigations[value] ?? unknown(value)} chip={chip} />;
}

/** The word for the state of an investigation; none is for never. */
export function investigationWord(value: string): string {
  return value === "none" ? "Not investigated" : (investigations[value as RunState] ?? unknown(value)).word;
}

export function VerdictMark({ value }: { value: Verdict }) {
  return <Mark look={verdicts[value] ?? unknown(value)} chip />;
}

/** A chip with a word of one's own. */
export function Chip({ tone, children, title }: { tone: Tone; children: string; title?: string }) {
  return (
    <span className={`${css.mark} ${css.chip} ${css[tone]}`} title={title}>
      {children}
    </span>
  );
}

export function isLive(state: RunState | "" | undefined): boolean {
  return state === "queued" || state === "running" || state === "waiting_approval";
}

export function severityTone(value: Severity): string {
  return `var(--${severities[value]?.tone ?? "faint"})`;
}
