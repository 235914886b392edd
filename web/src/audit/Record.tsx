import { Link } from "@tanstack/react-router";
import { useId, useState } from "react";
import type { AuditRecord } from "../api/types";
import { absolute } from "../text/time";
import { inert } from "../text/visible";
import { Ago, Copy } from "../ui/parts";
import { Chip } from "../ui/state";
import { details, hex, why } from "./audit";
import css from "./audit.module.css";

/** A record in one line; more of it when it is asked for. */
export function Row({ record: r }: { record: AuditRecord }) {
  const [open, setOpen] = useState(false);
  const id = useId();
  return (
    <li className={css.record} data-open={open}>
      <button type="button" className={css.line} aria-expanded={open} aria-controls={id} onClick={() => setOpen(!open)}>
        <span className={css.at}>
          <Ago at={r.at} plain />
        </span>
        <span className={css.what}>
          <strong>{inert(r.action)}</strong> <span className={css.object}>{inert(r.object)}</span>
          {why(r) && <span className={css.why}>{inert(why(r))}</span>}
        </span>
        <span className={css.who}>{inert(r.actor)}</span>
        <span className={css.outcome}>
          <OutcomeMark outcome={r.outcome} />
        </span>
      </button>
      {open && (
        <div id={id} className={css.detail}>
          <dl>
            <Fact name="When">{absolute(r.at)}</Fact>
            <Fact name="Who">{inert(r.actor)}</Fact>
            <Fact name="On what">
              {inert(r.object)} <Copy text={r.object} label="Copy" size={22} />
            </Fact>
            {r.run_id && (
              <Fact name="Run">
                <Link className={css.run} to="/audit" search={{ run: r.run_id }} title="All that this run did">
                  {inert(r.run_id)}
                </Link>
              </Fact>
            )}
            {details(r).map(([name, value]) => (
              <Fact key={name} name={inert(name.replaceAll("_", " "))}>
                {inert(value)}
              </Fact>
            ))}
          </dl>
          <dl className={css.place}>
            <Fact name="Place">
              record {r.seq.toLocaleString("en")} of chain {r.chain}
            </Fact>
            <Fact name="Hash">{hex(r.hash)}</Fact>
            <Fact name="Hash before">{hex(r.prev) || "none, it is the first"}</Fact>
            <Fact name="Signed">
              {r.key ? (r.first === r.seq ? `with key ${r.key}` : `with key ${r.key}, for records ${r.first} to ${r.seq}`) : "together with the records behind it"}
            </Fact>
          </dl>
        </div>
      )}
    </li>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function OutcomeMark({ outcome }: { outcome: string }) {
  switch (outcome) {
    case "ok":
      return <Chip tone="good">Done</Chip>;
    case "denied":
      return <Chip tone="critical">Denied</Chip>;
    case "failed":
      return <Chip tone="high">Failed</Chip>;
    case "unknown":
      return <Chip tone="warning">Not known</Chip>;
    case "intent":
      return <Chip tone="quiet">Begun</Chip>;
  }
  return <Chip tone="quiet">{inert(outcome)}</Chip>;
}
