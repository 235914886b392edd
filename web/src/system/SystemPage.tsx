import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { useMay } from "../accounts/may";
import { overview } from "../api/calls";
import type { Process, System } from "../api/types";
import { Chains } from "../audit/Chains";
import { bytes, count } from "../charts/numbers";
import { Sub } from "../settings/settings";
import table from "../settings/settings.module.css";
import { span } from "../text/time";
import { inert } from "../text/visible";
import kit from "../ui/kit.module.css";
import { Ago, Card, LoadingRows, Page, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./system.module.css";
import { kindsOf, verdict } from "./system";

/** Whether everything that should run does, and what waits. */
export function SystemPage() {
  const may = useMay();
  const query = useQuery({ queryKey: ["system"], queryFn: overview.system, refetchInterval: 5_000 });
  const s = query.data;
  return (
    <Page title="System health" lead="The processes of this deployment, what waits in them, and what they do by themselves.">
      {s ? (
        <div className={kit.parts}>
          {query.error && <Problem what="This could not be refreshed." error={query.error} kept="What is shown is from before." />}
          <Verdict s={s} />
          <Part title="Processes">
            <Processes s={s} />
          </Part>
          <Part title="Workers">
            <Workers s={s} />
          </Part>
          <Part title="Queues">
            <Queues s={s} />
          </Part>
          <Part title="What the api does by itself">
            <Chores s={s} />
          </Part>
          <Part title="Database">
            <dl className={css.facts}>
              <Fact name="Size">{bytes(s.database_bytes)}</Fact>
              <Fact name="Schema">{s.schema}</Fact>
              <Fact name="PostgreSQL">{inert(s.postgres)}</Fact>
            </dl>
          </Part>
          {may("audit.read") && (
            <Part title="Audit">
              <Chains />
            </Part>
          )}
        </div>
      ) : query.error ? (
        <Problem what="The state of the system could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <Card>
          <LoadingRows rows={8} />
        </Card>
      )}
    </Page>
  );
}

function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section aria-label={title} className={kit.part}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="num">{children}</dd>
    </div>
  );
}

function Verdict({ s }: { s: System }) {
  const wrong = verdict(s);
  return (
    <div className={css.verdict} data-bad={wrong.length > 0} role="status">
      {wrong.length === 0 ? (
        <strong>✓ Everything runs.</strong>
      ) : (
        <>
          <strong>{count(wrong.length, "thing")} to look at</strong>
          <ul>
            {wrong.map((w) => (
              <li key={w}>{w}</li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}

function Table({ label, columns, children }: { label: string; columns: string[]; children: ReactNode }) {
  return (
    <Card label={label}>
      <table className={table.table}>
        <thead>
          <tr>
            {columns.map((c) => (
              <th key={c} scope="col">
                {c}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </Card>
  );
}

function Processes({ s }: { s: System }) {
  return (
    <Table label="Processes" columns={["Process", "State", "Version", "Last seen", "Up for"]}>
      {kindsOf(s).map((k) =>
        k.processes.length === 0 ? (
          <tr key={k.kind}>
            <td data-label="Process">
              <div>{k.name}</div>
            </td>
            <td data-label="State" colSpan={4}>
              <div>
                <Chip tone="critical">Never seen</Chip>
              </div>
            </td>
          </tr>
        ) : (
          k.processes.map((p) => <ProcessRow key={`${p.kind} ${p.started_at}`} name={k.name} p={p} now={s.at} />)
        ),
      )}
    </Table>
  );
}

function ProcessRow({ name, p, now }: { name: string; p: Process; now: string }) {
  return (
    <tr>
      <td data-label="Process">
        <div>{name}</div>
      </td>
      <td data-label="State">
        <div>
          {p.alive ? <Chip tone="good">Alive</Chip> : <Chip tone="critical">Gone</Chip>}
          {p.alive && p.configuration?.problem && (
            <p role="alert">
              <Chip tone="critical">Configuration not loaded</Chip> {inert(p.configuration.problem)}. Version {inert(p.configuration.version)} stays in force.
            </p>
          )}
        </div>
      </td>
      <td data-label="Version">
        <code>{inert(p.version)}</code>
      </td>
      <td data-label="Last seen">
        <div>
          <Ago at={p.seen_at} suffix=" ago" />
        </div>
      </td>
      <td data-label="Up for">
        <div className="num">{p.alive ? span(Math.max(1000, Date.parse(now) - Date.parse(p.started_at))) : <span className="faint">–</span>}</div>
      </td>
    </tr>
  );
}

function Workers({ s }: { s: System }) {
  const workers = s.processes.filter((p) => p.alive).flatMap((p) => p.workers ?? []);
  if (workers.length === 0) return <p className={css.quiet}>No worker is connected: nothing is investigated. Start the agent, and look into its log.</p>;
  return (
    <Table label="Workers" columns={["Worker", "Busy", "Build"]}>
      {workers.map((w) => (
        <tr key={w.name}>
          <td data-label="Worker">
            <div className={css.long}>{inert(w.name)}</div>
          </td>
          <td data-label="Busy">
            <div>
              <span className="num">
                {w.runs} of {w.slots}
              </span>{" "}
              slots
            </div>
          </td>
          <td data-label="Build">
            <code>{inert(w.build) || "–"}</code>
          </td>
        </tr>
      ))}
    </Table>
  );
}

function Queues({ s }: { s: System }) {
  const api = s.processes.filter((p) => p.alive && p.kind === "api");
  const deliveries = api.reduce((n, p) => n + (p.deliveries_waiting ?? 0), 0);
  const room = api.reduce((n, p) => n + (p.deliveries_room ?? 0), 0);
  return (
    <>
      <dl className={css.facts}>
        <Fact name="Investigations queued">
          {s.runs_queued.toLocaleString("en")}
          {s.oldest_queued_at && (
            <span className={css.note}>
              oldest <Ago at={s.oldest_queued_at} plain />
            </span>
          )}
        </Fact>
        <Fact name="Running">{s.runs_running.toLocaleString("en")}</Fact>
        <Fact name="Waiting for approval">
          {s.runs_waiting_approval.toLocaleString("en")}
          <span className={css.note}>{count(s.approvals_pending, "open question")}</span>
        </Fact>
        <Fact name="Deliveries to store">
          {deliveries.toLocaleString("en")}
          <span className={css.note}>room for {room.toLocaleString("en")}</span>
        </Fact>
        <Fact name="Incidents to index">{s.search_waiting.toLocaleString("en")}</Fact>
      </dl>
      {s.dead_letters.length === 0 ? (
        <p className={css.quiet}>No dead letters: everything that senders sent was read.</p>
      ) : (
        <Table label="Dead letters" columns={["Source", "Dead letters"]}>
          {s.dead_letters.map((l) => (
            <tr key={l.source_id}>
              <td data-label="Source">
                <Link to="/sources/$id" params={{ id: l.source_id }}>
                  {inert(l.source)}
                </Link>
              </td>
              <td data-label="Dead letters">
                <div className="num">{l.count >= 1000 ? "1,000 or more" : l.count}</div>
              </td>
            </tr>
          ))}
        </Table>
      )}
    </>
  );
}

function Chores({ s }: { s: System }) {
  if (s.chores.length === 0) return <p className={css.quiet}>Nothing was due yet.</p>;
  return (
    <Table label="Chores" columns={["Chore", "State", "Last done", "Last failed"]}>
      {s.chores.map((c) => (
        <tr key={c.name}>
          <td data-label="Chore">
            <div>
              {inert(c.name)}
              {c.does && <Sub>{inert(c.does)}</Sub>}
            </div>
          </td>
          <td data-label="State">
            <div>{c.failing ? <Chip tone="critical">Fails</Chip> : <Chip tone="good">Done</Chip>}</div>
          </td>
          <td data-label="Last done">
            <div>{c.ran_at ? <Ago at={c.ran_at} suffix=" ago" /> : <span className="faint">never</span>}</div>
          </td>
          <td data-label="Last failed">
            <div>
              {c.failed_at ? <Ago at={c.failed_at} suffix=" ago" /> : <span className="faint">never</span>}
              {c.failing && c.error && <span className={css.said}>{inert(c.error)}</span>}
            </div>
          </td>
        </tr>
      ))}
    </Table>
  );
}
