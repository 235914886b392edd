import type { Run } from "../api/types";
import { callKey } from "../timeline/rows";
import { inert } from "../text/visible";
import { InvestigationMark } from "../ui/state";
import { familyOf, type Relative, takenBy, takenText } from "./family";
import css from "./Family.module.css";

/** Who asked whom with what in an investigation, and what each has taken. Nothing where nobody was asked. */
export function Family({ runs, root }: { runs: Run[]; root: string }) {
  const first = familyOf(runs, root);
  if (!first || first.asked.length === 0) return null;
  return (
    <section className={css.section} aria-labelledby="family">
      <h2 id="family">Agents</h2>
      <ul className={css.tree}>
        <Member of={first} />
      </ul>
      <p className="faint">All together {takenText(takenBy(first))}.</p>
    </section>
  );
}

function Member({ of }: { of: Relative }) {
  const { run, asked } = of;
  return (
    <li>
      <div className={css.member}>
        <strong>{inert(run.agent)}</strong>
        <InvestigationMark value={run.state} />
        <span className="faint num">{takenText(takenBy({ run, asked: [] }))}</span>
        {run.asked_by && (
          <a className="faint" href={`#${callKey(run.asked_by, run.asked_in ?? "")}`} aria-label={`To the call ${inert(run.asked_in ?? "")} that asked ${inert(run.agent)}`}>
            {inert(run.asked_in ?? "")}
          </a>
        )}
        {run.task && <p>{inert(run.task)}</p>}
      </div>
      {asked.length > 0 && (
        <ul className={css.tree}>
          {asked.map((r) => (
            <Member key={r.run.id} of={r} />
          ))}
        </ul>
      )}
    </li>
  );
}
