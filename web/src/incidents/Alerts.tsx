import { Button } from "@mantine/core";
import { useState } from "react";
import type { Alert } from "../api/types";
import { inert, inertLines } from "../text/visible";
import { Ago, OutLink, Problem } from "../ui/parts";
import { Chip, SeverityShape } from "../ui/state";
import css from "./Alerts.module.css";

const few = 5;

/** The alerts that make up the incident, those that still fire first. */
export function Alerts({ alerts, error, retry }: { alerts: Alert[] | undefined; error: unknown; retry: () => void }) {
  const [shown, setShown] = useState(few);
  if (!alerts) {
    return error ? (
      <section className={css.section}>
        <Problem what="The alerts could not be read." error={error} retry={retry} />
      </section>
    ) : null;
  }
  if (alerts.length === 0) return null;
  const sorted = [...alerts].sort((a, b) => Number(a.status === "resolved") - Number(b.status === "resolved"));
  const firing = alerts.filter((a) => a.status !== "resolved").length;
  return (
    <section className={css.section} aria-label="Alerts">
      <h2>
        Alerts <span className="faint num">{firing > 0 ? `${firing} of ${alerts.length} firing` : `${alerts.length}, all resolved`}</span>
      </h2>
      <div className={css.list}>
        {sorted.slice(0, shown).map((alert, i) => (
          <details key={alert.id ?? i} className={css.alert}>
            <summary>
              <SeverityShape value={alert.severity} />
              <span className={css.title}>
                <span>{inert(alert.title)}</span>
                {alert.host && <span className="faint">{inert(alert.host)}</span>}
              </span>
              {alert.status === "resolved" ? <Chip tone="good">Resolved</Chip> : alert.status === "acknowledged" ? <Chip tone="warning">Acknowledged</Chip> : <Chip tone="critical">Firing</Chip>}
              <span className={`${css.right} dim`}>
                <Ago at={alert.starts_at} plain />
              </span>
            </summary>
            <Details alert={alert} />
          </details>
        ))}
        {sorted.length > shown && (
          <div className={css.more}>
            <Button variant="subtle" size="compact-sm" onClick={() => setShown(shown + 100)}>
              Show {Math.min(100, sorted.length - shown)} more
            </Button>
          </div>
        )}
      </div>
    </section>
  );
}

function Details({ alert }: { alert: Alert }) {
  const labels = Object.entries(alert.labels ?? {});
  return (
    <div className={css.body}>
      {alert.summary && <p>{inertLines(alert.summary)}</p>}
      {alert.description && alert.description !== alert.summary && <p className="dim">{inertLines(alert.description)}</p>}
      {labels.length > 0 && (
        <div className={css.labels}>
          {labels.map(([name, value]) => (
            <code key={name}>
              {inert(name)}={inert(value)}
            </code>
          ))}
        </div>
      )}
      {(alert.links ?? []).length > 0 && (
        <div className={css.links}>
          {(alert.links ?? []).map((link) => (
            <OutLink key={link.kind + link.url} url={link.url}>
              {link.kind === "generator" ? "Rule" : link.kind === "runbook" ? "Runbook" : link.kind === "dashboard" ? "Dashboard" : "At the source"}
            </OutLink>
          ))}
        </div>
      )}
      <p className="faint">
        Started <Ago at={alert.starts_at} suffix=" ago" />
        {alert.count !== undefined && alert.count > 1 && ` · reported ${alert.count.toLocaleString()} times`}
      </p>
    </div>
  );
}
