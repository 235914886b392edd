import { SegmentedControl } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import { useMay } from "../accounts/may";
import { approvals, overview } from "../api/calls";
import type { Approval, Dashboard, Incident } from "../api/types";
import { Chart } from "../charts/Chart";
import { compact, count, ratio, usd } from "../charts/numbers";
import { inert } from "../text/visible";
import { Ago, Left, LoadingRows, Problem, useTitle } from "../ui/parts";
import { InvestigationMark, SeverityMark, SeverityShape, StatusMark } from "../ui/state";
import { StillMissing } from "../wizard/StillMissing";
import css from "./dashboard.module.css";
import { dayName, hourName, spent, sum } from "./dashboard";

/** The start page: what is on fire, who works on it, what waits for a person; then what came in and what it cost. */
export function DashboardPage() {
  useTitle("Dashboard");
  const may = useMay();
  const [window, setWindow] = useState<"day" | "week">("day");
  const query = useQuery({
    queryKey: ["dashboard", window],
    queryFn: ({ signal }) => overview.dashboard(window, { signal }),
    refetchInterval: 5_000,
    placeholderData: keepPreviousData,
  });
  const d = query.data;
  return (
    <div className={css.page}>
      <header className={css.head}>
        <h1>Dashboard</h1>
        {d && !query.error && (
          <p className={css.live}>
            <span aria-hidden="true" /> Live
          </p>
        )}
      </header>
      {may("inventory.manage") && <StillMissing />}
      {query.error && d && <Problem what="The dashboard could not be refreshed." error={query.error} kept="What is shown is from before." />}
      {d ? (
        <>
          <Fire d={d} />
          <div className={css.two}>
            <Running d={d} />
            <Waiting />
          </div>
          <Noise d={d} window={window} setWindow={setWindow} />
          <Cost d={d} />
        </>
      ) : query.error ? (
        <Problem what="The dashboard could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <LoadingRows rows={10} height={24} />
      )}
    </div>
  );
}

function Section({ title, more, children }: { title: string; more?: ReactNode; children: ReactNode }) {
  return (
    <section className={css.section} aria-label={title}>
      <div className={css.title}>
        <h2>{title}</h2>
        {more}
      </div>
      {children}
    </section>
  );
}

function Fire({ d }: { d: Dashboard }) {
  const open = sum(d.open, (o) => o.triggered + o.acknowledged);
  return (
    <Section title="On fire" more={<Link to="/incidents" search={{ status: "triggered,acknowledged" }}>All open incidents</Link>}>
      <ul className={css.tiles}>
        {d.open.map((o) => {
          const n = o.triggered + o.acknowledged;
          return (
            <li key={o.severity}>
              <Link to="/incidents" search={{ status: "triggered,acknowledged", severity: o.severity }} className={css.tile} data-none={n === 0}>
                <SeverityMark value={o.severity} />
                <strong className="num">{n.toLocaleString("en")}</strong>
                <span>{n === 0 ? "none open" : o.triggered === 0 ? "all acknowledged" : `${o.triggered.toLocaleString("en")} not acknowledged`}</span>
              </Link>
            </li>
          );
        })}
      </ul>
      {d.oldest_unacknowledged && (
        <p className={css.oldest}>
          Longest without anybody:{" "}
          <Link to="/incidents/$id" params={{ id: String(d.oldest_unacknowledged.number) }}>
            <SeverityShape value={d.oldest_unacknowledged.severity} /> <span className="num">#{d.oldest_unacknowledged.number}</span> {inert(d.oldest_unacknowledged.title)}
          </Link>
          , opened <Ago at={d.oldest_unacknowledged.opened_at} suffix=" ago" />
        </p>
      )}
      {open === 0 ? (
        <p className={css.quiet}>Nothing is open. Alerts become incidents by themselves.</p>
      ) : (
        <ul className={css.list}>
          {d.hottest.map((i) => (
            <li key={i.id}>
              <Row incident={i}>
                <StatusMark value={i.status} />
                <span className={css.end}>
                  <Ago at={i.opened_at} plain />
                </span>
              </Row>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function Row({ incident: i, children }: { incident: Incident; children: ReactNode }) {
  return (
    <Link to="/incidents/$id" params={{ id: String(i.number) }} className={css.row}>
      <SeverityShape value={i.severity} />
      <span className="num faint">#{i.number}</span>
      <span className={css.name}>
        <b>{inert(i.title)}</b> {i.service && <span className="faint">{inert(i.service)}</span>}
      </span>
      <span className={css.marks}>{children}</span>
    </Link>
  );
}

function Running({ d }: { d: Dashboard }) {
  return (
    <Section
      title="Investigations"
      more={<span className="dim num">{`${d.investigations_running} running, ${d.investigations_waiting_approval} waiting for approval, ${d.investigations_queued} queued`}</span>}
    >
      {d.investigations.length === 0 ? (
        <p className={css.quiet}>{d.investigations_queued > 0 ? "All of them wait for a worker." : "No agent is at work."}</p>
      ) : (
        <ul className={css.list}>
          {d.investigations.map((r) => (
            <li key={r.incident.id}>
              <Row incident={r.incident}>
                <InvestigationMark value={r.incident.investigation} />
                <span className={css.end}>{r.usd > 0 ? usd(r.usd) : <Ago at={r.started_at} plain />}</span>
              </Row>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

/** The same calls as the count in the menu, so nothing is asked twice. */
function Waiting() {
  const query = useQuery({ queryKey: ["approvals", "waiting"], queryFn: ({ signal }) => approvals.list({ state: "pending", limit: 100 }, { signal }), refetchInterval: 5_000 });
  const all = query.data?.items ?? [];
  return (
    <Section title="Waiting for a decision" more={<Link to="/approvals">{all.length > 0 ? "Decide" : "Approvals"}</Link>}>
      {query.error && !query.data ? (
        <Problem what="What waits could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : !query.data ? (
        <LoadingRows rows={2} />
      ) : all.length === 0 ? (
        <p className={css.quiet}>No agent asks for anything.</p>
      ) : (
        <ul className={css.list}>
          {all.slice(0, 6).map((a) => (
            <li key={a.id}>
              <Asked approval={a} />
            </li>
          ))}
          {all.length > 6 && <li className={css.quiet}>and {all.length >= 100 ? "more than 90" : all.length - 6} more</li>}
        </ul>
      )}
    </Section>
  );
}

function Asked({ approval: a }: { approval: Approval }) {
  return (
    <Link to="/approvals" className={css.row}>
      <span className={css.name}>
        <code>{inert(a.command || a.tool).slice(0, 200)}</code> {a.target && <span className="faint">on {inert(a.target)}</span>}
      </span>
      <span className={css.marks}>
        <span className="dim">{inert(a.risk)} risk</span>
        <span className={css.end}>
          <Left until={a.expires_at} />
        </span>
      </span>
    </Link>
  );
}

function Noise({ d, window, setWindow }: { d: Dashboard; window: "day" | "week"; setWindow: (window: "day" | "week") => void }) {
  const alerts = sum(d.hours, (h) => h.alerts);
  const incidents = sum(d.hours, (h) => h.incidents);
  const deliveries = sum(d.hours, (h) => h.deliveries);
  const noisy = d.noisy_alerts.filter((a) => a.alerts > 1 || a.reports > 1);
  return (
    <Section
      title="Noise"
      more={
        <SegmentedControl
          size="xs"
          aria-label="How far back"
          value={window}
          onChange={(value) => setWindow(value === "week" ? "week" : "day")}
          data={[
            { value: "day", label: "24 hours" },
            { value: "week", label: "7 days" },
          ]}
        />
      }
    >
      <dl className={css.facts}>
        <Fact name="Alerts" value={compact(alerts)} note={`in ${count(deliveries, "delivery", "deliveries")}`} />
        <Fact name="New incidents" value={compact(incidents)} note="opened for them" />
        <Fact name="Grouped" value={ratio(alerts, incidents)} note={alerts > 0 && incidents > 0 ? "alerts to an incident" : ""} />
      </dl>
      <Chart
        title="What came in"
        says={alerts + deliveries === 0 ? "Nothing came in this time." : `${count(alerts, "alert")} in ${count(deliveries, "delivery", "deliveries")} opened ${count(incidents, "incident")}.`}
        x={d.hours.map((h) => Date.parse(h.at) / 1000)}
        name={hourName}
        column="Hour"
        series={[
          { label: "Alerts that came", values: d.hours.map((h) => h.alerts), tone: "accent", draw: "bars", format: compact },
          { label: "Deliveries", values: d.hours.map((h) => h.deliveries), tone: "warning", draw: "dashes", format: compact },
          { label: "New incidents", values: d.hours.map((h) => h.incidents), tone: "critical", draw: "line", format: compact },
        ]}
      />
      <div className={css.pair}>
        <div>
          <h3>Noisiest alerts</h3>
          {noisy.length === 0 ? (
            <p className={css.quiet}>None was told of more than once.</p>
          ) : (
            <ol className={css.ranks}>
              {noisy.map((a) => (
                <li key={`${a.source_id} ${a.identity}`}>
                  <span className={css.name} title={inert(a.identity)}>
                    {a.incident ? (
                      <Link to="/incidents/$id" params={{ id: String(a.incident) }}>
                        {inert(a.title || a.identity)}
                      </Link>
                    ) : (
                      inert(a.title || a.identity)
                    )}{" "}
                    <span className="faint">{inert(a.source)}</span>
                  </span>
                  <span className="num dim">
                    {compact(a.alerts)} × in {count(a.incidents, "incident")}, told {compact(a.reports)} ×
                  </span>
                </li>
              ))}
            </ol>
          )}
        </div>
        <div>
          <h3>Noisiest sources</h3>
          {d.noisy_sources.length === 0 ? (
            <p className={css.quiet}>None has sent anything.</p>
          ) : (
            <ol className={css.ranks}>
              {d.noisy_sources.map((s) => (
                <li key={s.source_id}>
                  <span className={css.name}>
                    {s.source ? (
                      <Link to="/sources/$id" params={{ id: s.source_id }}>
                        {inert(s.source)}
                      </Link>
                    ) : (
                      "a removed source"
                    )}
                  </span>
                  <span className="num dim">
                    {count(s.alerts, "alert")}, {ratio(s.alerts, s.incidents)}
                  </span>
                </li>
              ))}
            </ol>
          )}
        </div>
      </div>
    </Section>
  );
}

function Fact({ name, value, note }: { name: string; value: string; note?: string }) {
  return (
    <div className={css.fact}>
      <dt>{name}</dt>
      <dd className="num">
        {value} {note && <span>{note}</span>}
      </dd>
    </div>
  );
}

function Cost({ d }: { d: Dashboard }) {
  const { today, before, month, runs, unpriced } = spent(d.days);
  const known = (of: { usd: number; unpriced: number }) => (of.usd === 0 && of.unpriced > 0 ? "not known" : usd(of.usd));
  return (
    <Section title="Cost" more={<Link to="/usage">Usage and budgets</Link>}>
      <dl className={css.facts}>
        <Fact name="Today" value={known(today)} note={`yesterday ${known(before)}`} />
        <Fact name="30 days" value={known({ usd: month, unpriced })} note={`for ${count(runs, "investigation")}`} />
        <Fact name="An investigation" value={runs === 0 ? "–" : known({ usd: month / runs, unpriced })} note={unpriced > 0 ? `without ${count(unpriced, "turn")} of unknown price` : "on average"} />
      </dl>
      <Chart
        title="Spent each day"
        says={month === 0 ? (unpriced > 0 ? "What was used has no known price." : "Nothing was spent in 30 days.") : `${usd(month)} in 30 days, ${known(today)} today.`}
        x={d.days.map((s) => Date.parse(s.day) / 1000)}
        name={dayName}
        column="Day (UTC)"
        height={140}
        whole={false}
        series={[{ label: "US dollars", values: d.days.map((s) => s.usd), tone: "accent", draw: "bars", format: usd }]}
      />
    </Section>
  );
}
