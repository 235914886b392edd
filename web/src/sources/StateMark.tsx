import type { ReactNode } from "react";
import marks from "../ui/state.module.css";
import type { SourceState } from "./state";

const stroke = (d: string) => <path d={d} fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round" />;
const ring = <circle cx="7" cy="7" r="5.25" fill="none" stroke="currentColor" strokeWidth="1.5" />;

const looks: Record<SourceState, { word: string; tone: string; shape: ReactNode; means: string }> = {
  receiving: { word: "Receiving", tone: "good", shape: stroke("m2.5 7.4 3 3 6-6.6"), means: "Something arrived within a day, and nothing went wrong within the hour." },
  quiet: { word: "Quiet", tone: "quiet", shape: <>{ring}{stroke("M4.6 7h4.8")}</>, means: "Nothing arrived for more than a day. Nobody is told: there is no limit in its settings." },
  silent: { word: "Silent", tone: "high", shape: <>{ring}{stroke("M7 4v3.4M7 10v.1")}</>, means: "Nothing arrived for longer than its settings allow." },
  errors: { word: "Errors", tone: "critical", shape: stroke("m3.2 3.2 7.6 7.6M10.8 3.2l-7.6 7.6"), means: "Something went wrong within the hour." },
  setup: { word: "Set-up mode", tone: "warning", shape: <path d="M7 1.2 12.8 7 7 12.8 1.2 7z" fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinejoin="round" />, means: "What does not prove itself is kept and not refused, for a while." },
  off: { word: "Off", tone: "quiet", shape: <>{ring}{stroke("m3.4 10.6 7.2-7.2")}</>, means: "What it is sent is refused." },
  new: { word: "Nothing yet", tone: "info", shape: <circle cx="7" cy="7" r="5.25" fill="none" stroke="currentColor" strokeWidth="1.5" strokeDasharray="2.2 1.9" />, means: "Nothing has arrived so far." },
};

/** A source's state: a word, a shape, a colour. */
export function StateMark({ value, chip }: { value: SourceState; chip?: boolean }) {
  const look = looks[value];
  return (
    <span className={`${marks.mark} ${marks[look.tone]} ${chip ? marks.chip : ""}`} title={look.means}>
      <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true" focusable="false">
        {look.shape}
      </svg>
      <span>{look.word}</span>
    </span>
  );
}
