import type { MouseEvent } from "react";
import type { ReactNode } from "react";
import type { Action, Citation, Finding, RunFinding } from "../api/types";
import { hasHidden, inert, inertLines, pasteable } from "../text/visible";
import type { Focus } from "../timeline/Call";
import { callKey } from "../timeline/rows";
import { Remember } from "../memory/Remember";
import { Judge } from "./Judge";
import { Ago, Snippet } from "../ui/parts";
import { Chip, VerdictMark } from "../ui/state";
import css from "./Findings.module.css";

interface FindingsProps {
  /** Newest first. */
  findings: RunFinding[];
  onCite: (focus: Focus) => void;
  /** Whose they are: who may can say whether they are right. */
  incident?: string;
  /** Of the incident, for what is remembered of them. */
  service?: string;
}

/** What the investigation came to, and on which tool calls each claim stands. */
export function Findings({ findings, onCite, incident, service = "" }: FindingsProps) {
  const [newest, ...older] = findings;
  if (!newest) return null;
  const judge = (found: RunFinding) =>
    incident && (
      <>
        <Judge id={incident} run={found.run_id} />
        <Remember incident={incident} found={found} service={service} />
      </>
    );
  return (
    <>
      <One found={newest} onCite={onCite} id="findings" judge={judge(newest)} />
      {older.length > 0 && (
        <details className={css.older}>
          <summary>
            {older.length} earlier {older.length === 1 ? "investigation" : "investigations"}
          </summary>
          {older.map((found) => (
            <One key={found.run_id} found={found} onCite={onCite} judge={judge(found)} />
          ))}
        </details>
      )}
    </>
  );
}

function One({ found, onCite, id, judge }: { found: RunFinding; onCite: (focus: Focus) => void; id?: string; judge?: ReactNode }) {
  const f = found.finding;
  const hypotheses = f.hypotheses ?? [];
  const actions = f.actions ?? [];
  const dropped = f.dropped ?? [];
  const cites = (list: Citation[] | null | undefined) => <Cites run={found.run_id} list={list ?? []} onCite={onCite} />;
  return (
    <section className={css.card} id={id} aria-label="Findings" tabIndex={-1}>
      <div className={css.head}>
        <h2>Findings</h2>
        {f.conclusive ? <Confidence finding={f} /> : <Chip tone="warning">Not conclusive</Chip>}
        <span className="faint">
          <Ago at={found.at} suffix=" ago" />
        </span>
      </div>
      {f.conclusive && f.root_cause ? (
        <div className={css.section}>
          <div className={css.label}>Root cause</div>
          <p className={css.cause}>{inert(f.root_cause)}</p>
          {cites(f.evidence)}
        </div>
      ) : (
        <div className={css.section}>
          <div className={css.label}>Root cause</div>
          <p>No root cause stands on evidence. What was looked at is below.</p>
        </div>
      )}
      {f.summary && (
        <div className={css.section}>
          <div className={css.label}>Summary</div>
          <p>{inertLines(f.summary)}</p>
          {f.impact && (
            <>
              <div className={css.label} style={{ marginTop: 10 }}>
                Impact
              </div>
              <p>{inertLines(f.impact)}</p>
            </>
          )}
        </div>
      )}
      {actions.length > 0 && (
        <div className={css.section}>
          <div className={css.label}>Recommended actions, for a person to take</div>
          <ol className={css.actions}>
            {actions.map((action, i) => (
              <Recommended key={i} action={action} />
            ))}
          </ol>
        </div>
      )}
      {hypotheses.length > 0 && (
        <div className={css.section}>
          <div className={css.label} style={{ marginBottom: 8 }}>
            Hypotheses
          </div>
          <ul className={css.hypotheses}>
            {hypotheses.map((h, i) => (
              <li key={i} className={css.hypothesis}>
                <span>
                  <VerdictMark value={h.verdict} />
                </span>
                <div>
                  <p>{inert(h.statement)}</p>
                  {cites(h.evidence)}
                </div>
              </li>
            ))}
          </ul>
        </div>
      )}
      {dropped.length > 0 && (
        <div className={css.section}>
          <details className={css.dropped}>
            <summary>
              {dropped.length} {dropped.length === 1 ? "claim was" : "claims were"} dropped for want of evidence
            </summary>
            <ul>
              {dropped.map((claim, i) => (
                <li key={i}>{inert(claim)}</li>
              ))}
            </ul>
          </details>
        </div>
      )}
      {judge}
    </section>
  );
}

function Confidence({ finding }: { finding: Finding }) {
  const percent = Math.round(finding.confidence * 100);
  return (
    <span className={css.confidence} title="As the model states it; capped unless evidence confirms a hypothesis.">
      Confidence <span className="num">{percent} %</span>
      <span className={css.meter} aria-hidden="true">
        <span style={{ width: `${percent}%` }} />
      </span>
    </span>
  );
}

function Cites({ run, list, onCite }: { run: string; list: Citation[]; onCite: (focus: Focus) => void }) {
  if (list.length === 0) return null;
  return (
    <div className={css.cites}>
      {list.map((citation, i) => {
        const key = callKey(run, citation.call);
        const go = (event: MouseEvent) => {
          event.preventDefault();
          onCite({ key, excerpt: citation.excerpt });
        };
        return (
          <a key={i} href={`#${key}`} className={css.cite} data-cite={citation.call} onClick={go} title={inert(citation.excerpt) || undefined}>
            <b>{inert(citation.call)}</b>
            {citation.excerpt && <q>{inert(citation.excerpt)}</q>}
          </a>
        );
      })}
    </div>
  );
}

const checks = {
  allow: ["quiet", "Agent may", "The rules let the agent run this by itself."],
  ask: ["warning", "Needs approval", "The agent would have to ask people before it runs this."],
  deny: ["quiet", "Agent may not", "The rules do not let the agent run this. People decide for themselves."],
} as const;

/** What the rules say of a command, if the agent ran it. */
function Check({ check }: { check: NonNullable<Action["check"]> }) {
  const [tone, word, title] = checks[check.verdict];
  return (
    <Chip tone={tone} title={`${title}${check.reason ? ` ${inert(check.reason)}` : ""}`}>
      {word}
    </Chip>
  );
}

function Recommended({ action }: { action: Action }) {
  const command = action.command ?? "";
  return (
    <li className={css.action}>
      <div>
        <p>
          {inert(action.title)} {action.target && <span className={css.target}>{inert(action.target)}</span>} {action.check && <Check check={action.check} />}
        </p>
        {command !== "" && <Snippet text={pasteable(command)} label="the command" wrap />}
        {hasHidden(command) && <span className={css.warn}>Invisible characters were taken out of this command. Read it twice.</span>}
      </div>
    </li>
  );
}
