import { Button, Checkbox, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { incidents } from "../api/calls";
import type { Alert, Incident } from "../api/types";
import { inert, inertLines } from "../text/visible";
import { Ago, OutLink, Problem } from "../ui/parts";
import { Chip, SeverityShape } from "../ui/state";
import css from "./Alerts.module.css";
import { IncidentField, useIncident } from "./Changes";
import { Payload } from "./Payload";

const few = 5;
/** The api moves at most so many at once. */
const mostAtOnce = 1000;

interface Props {
  /** The incident, if the user may take alerts out of it. */
  incident?: Incident;
  /** Those that are loaded. */
  alerts: Alert[] | undefined;
  /** How many there are, and how many of them fire. */
  total: number;
  firing: number;
  error: unknown;
  retry: () => void;
  /** Loads more, if there are more. */
  more?: () => void;
  loading?: boolean;
}

/** The alerts that make up the incident, of those that are loaded the ones that still fire first. */
export function Alerts({ incident, alerts, total, firing, error, retry, more, loading }: Props) {
  const [shown, setShown] = useState(few);
  const [chosen, setChosen] = useState<ReadonlySet<string> | null>(null);
  if (!alerts) {
    return error ? (
      <section className={css.section}>
        <Problem what="The alerts could not be read." error={error} retry={retry} />
      </section>
    ) : null;
  }
  if (alerts.length === 0) return null;
  const sorted = [...alerts].sort((a, b) => Number(a.status === "resolved") - Number(b.status === "resolved"));
  const visible = sorted.slice(0, shown);
  const left = Math.max(total, alerts.length) - shown;
  const choose = (id: string, on: boolean) => {
    const next = new Set(chosen);
    if (on) next.add(id);
    else next.delete(id);
    setChosen(next);
  };
  return (
    <section className={css.section} aria-label="Alerts">
      <div className={css.head}>
        <h2>
          Alerts <span className="faint num">{firing > 0 ? `${firing.toLocaleString()} of ${total.toLocaleString()} firing` : `${total.toLocaleString()}, all resolved`}</span>
        </h2>
        {incident && (
          <Button variant="subtle" color="gray" size="compact-sm" onClick={() => setChosen(chosen ? null : new Set())} aria-pressed={chosen !== null}>
            {chosen ? "Cancel" : "Split or move"}
          </Button>
        )}
      </div>
      {incident && chosen && (
        <TakeOut
          incident={incident}
          ids={[...chosen]}
          all={() => setChosen(new Set(visible.map((a) => a.id ?? "").filter(Boolean).slice(0, mostAtOnce)))}
          done={() => setChosen(null)}
        />
      )}
      <div className={css.list}>
        {visible.map((alert, i) => (
          <div key={alert.id ?? i} className={css.row} data-choosing={chosen !== null || undefined}>
            {incident && chosen && alert.id && (
              <Checkbox
                className={css.box}
                aria-label={`Choose ${inert(alert.title)}${alert.host ? ` on ${inert(alert.host)}` : ""}`}
                checked={chosen.has(alert.id)}
                onChange={(e) => choose(alert.id ?? "", e.currentTarget.checked)}
              />
            )}
            <details className={css.alert}>
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
          </div>
        ))}
        {(sorted.length > shown || more) && (
          <div className={css.more}>
            <Button
              variant="subtle"
              size="compact-sm"
              loading={loading}
              onClick={() => {
                if (sorted.length < shown + 100) more?.();
                setShown(shown + 100);
              }}
            >
              Show {Math.min(100, Math.max(left, 1)).toLocaleString()} more{left > 100 && ` of ${left.toLocaleString()}`}
            </Button>
          </div>
        )}
      </div>
    </section>
  );
}

/** Takes the chosen alerts into a new incident or another one, and goes there. */
function TakeOut({ incident, ids, all, done }: { incident: Incident; ids: string[]; all: () => void; done: () => void }) {
  const [title, setTitle] = useState("");
  const [to, setTo] = useState("");
  const other = useIncident(to);
  const client = useQueryClient();
  const navigate = useNavigate();
  const take = useMutation({
    mutationFn: (where: string) => (where ? incidents.move(incident.id, { alert_ids: ids, to: where }) : incidents.split(incident.id, { alert_ids: ids, ...(title.trim() ? { title: title.trim() } : {}) })),
    onSuccess: (now) => {
      done();
      void client.invalidateQueries({ queryKey: ["incident"] });
      void client.invalidateQueries({ queryKey: ["incidents"] });
      void navigate({ to: "/incidents/$id", params: { id: String(now.number) } });
    },
  });
  const wholeIncident = ids.length >= incident.alert_count;
  const target = other.found && other.found.id !== incident.id ? other.found : undefined;
  return (
    <div className={css.take} role="group" aria-label="Take alerts out">
      <div className={css.chosen}>
        <strong role="status">{ids.length === 0 ? "Choose alerts below." : ids.length === 1 ? "1 alert is chosen." : `${ids.length} alerts are chosen.`}</strong>
        <Button variant="subtle" size="compact-sm" onClick={all}>
          Choose all that are shown
        </Button>
      </div>
      <form
        className={css.way}
        onSubmit={(e) => {
          e.preventDefault();
          take.mutate("");
        }}
      >
        <TextInput label="Title of the new incident" placeholder="As its first alert" value={title} onChange={(e) => setTitle(e.currentTarget.value)} maxLength={300} />
        <Button type="submit" variant="default" disabled={ids.length === 0 || wholeIncident || take.isPending} loading={take.isPending && take.variables === ""}>
          Split off
        </Button>
      </form>
      <form
        className={css.way}
        onSubmit={(e) => {
          e.preventDefault();
          if (target) take.mutate(target.id);
        }}
      >
        <IncidentField label="Number of another incident" value={to} set={setTo} self={incident} other={other} />
        <Button type="submit" variant="default" disabled={ids.length === 0 || !target || take.isPending} loading={take.isPending && take.variables !== ""}>
          {target ? `Move to #${target.number}` : "Move"}
        </Button>
      </form>
      <p className="faint">
        {wholeIncident && ids.length > 0
          ? "These are all its alerts: one at least must stay to split. To move everything, merge the incident."
          : "What comes new of their groups still belongs to this incident."}
      </p>
      {take.error && <Problem what="Nothing was taken out." error={take.error} />}
    </div>
  );
}

function Details({ alert }: { alert: Alert }) {
  const may = useMay();
  return (
    <div className={css.body}>
      {alert.summary && <p>{inertLines(alert.summary)}</p>}
      {alert.description && alert.description !== alert.summary && <p className="dim">{inertLines(alert.description)}</p>}
      {alert.why && (
        <p>
          <span className="faint">Why grouped here:</span> {inert(alert.why)}
        </p>
      )}
      <Pairs pairs={alert.labels} />
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
      <Raw alert={alert} />
      {may("sources.manage") && alert.id && <Payload alert={alert.id} />}
    </div>
  );
}

function Pairs({ pairs }: { pairs: Record<string, string> | undefined }) {
  const all = Object.entries(pairs ?? {});
  if (all.length === 0) return null;
  return (
    <div className={css.labels}>
      {all.map(([name, value]) => (
        <code key={name}>
          {inert(name)}={inert(value)}
        </code>
      ))}
    </div>
  );
}

/** Everything that is kept of it, for whoever writes a rule or asks why. */
function Raw({ alert }: { alert: Alert }) {
  const facts: [string, string | undefined][] = [
    ["Identity", alert.identity],
    ["Episode", alert.episode],
    ["Group", alert.group_key],
    ["Kind", alert.kind],
    ["Severity, as sent", alert.sender_severity],
    ["Service", alert.service],
  ];
  const rows = [...facts, ...Object.entries(alert.annotations ?? {}).map(([name, value]): [string, string] => [`annotation ${name}`, value])];
  return (
    <details className={css.raw}>
      <summary>All that is kept of it</summary>
      <dl>
        {rows.map(([name, value]) =>
          value ? (
            <div key={name}>
              <dt>{inert(name)}</dt>
              <dd className="mono">{inertLines(value)}</dd>
            </div>
          ) : null,
        )}
      </dl>
    </details>
  );
}
