import { Button } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import { type IncidentAction, incidents } from "../api/calls";
import { ApiError } from "../api/client";
import type { Finding, Incident, Run } from "../api/types";
import { isTime, span } from "../text/time";
import { inert, inertLines } from "../text/visible";
import type { Focus } from "../timeline/Call";
import { Timeline } from "../timeline/Timeline";
import { useTimeline } from "../timeline/useTimeline";
import { useHotkeys } from "../ui/hotkeys";
import { BackIcon } from "../ui/icons";
import { Ago, Empty, LoadingRows, Problem, useNow, useTitle } from "../ui/parts";
import { InvestigationMark, isLive, SeverityMark, severityTone, StatusMark } from "../ui/state";
import { Alerts } from "./Alerts";
import { Findings } from "./Findings";
import css from "./IncidentPage.module.css";

export function IncidentPage() {
  const { id } = getRouteApi("/signed-in/incidents/$id").useParams();
  const query = useQuery({
    queryKey: ["incident", id],
    queryFn: ({ signal }) => incidents.get(id, { signal }),
    // The timeline says when it changes; this is for when the timeline cannot.
    refetchInterval: 15_000,
  });
  useTitle(query.data ? `#${query.data.number} ${inert(query.data.title)}` : "Incident");

  if (query.data) {
    const stale = query.error && !(query.error instanceof ApiError && query.error.status === 0) ? query.error : null;
    return <Loaded key={id} id={id} incident={query.data} stale={stale} />;
  }
  if (query.error) {
    const missing = query.error instanceof ApiError && query.error.status === 404;
    return (
      <div className={css.page}>
        <Back />
        {missing ? (
          <Empty title="There is no such incident" more={<Link to="/incidents">To the incidents</Link>} />
        ) : (
          <Problem what="The incident could not be read." error={query.error} retry={() => void query.refetch()} />
        )}
      </div>
    );
  }
  return (
    <div className={css.page}>
      <Back />
      {query.fetchStatus === "paused" ? <Empty title="You are offline">The incident appears as soon as the network is back.</Empty> : <LoadingRows rows={8} />}
    </div>
  );
}

function Back({ children }: { children?: ReactNode }) {
  return (
    <nav className={css.back} aria-label="Back">
      <Link to="/incidents">
        <BackIcon size={14} /> Incidents
      </Link>
      {children}
    </nav>
  );
}

function Loaded({ id, incident, stale }: { id: string; incident: Incident; stale: unknown }) {
  // Fetched anew with the page; from then on the timeline says when.
  const part = { staleTime: 0, refetchOnWindowFocus: false };
  const alerts = useQuery({ ...part, queryKey: ["incident", id, "alerts"], queryFn: ({ signal }) => incidents.alerts(id, { signal }) });
  const calls = useQuery({ ...part, queryKey: ["incident", id, "calls"], queryFn: ({ signal }) => incidents.calls(id, { signal }) });
  const findings = useQuery({ ...part, queryKey: ["incident", id, "findings"], queryFn: ({ signal }) => incidents.findings(id, { signal }) });
  const runs = useQuery({ ...part, queryKey: ["incident", id, "runs"], queryFn: ({ signal }) => incidents.runs(id, { signal }) });
  const [baseline] = useState(incident.last_seq);
  const { timeline, state } = useTimeline(id, baseline);
  const [focus, setFocus] = useState<Focus | null>(null);

  const client = useQueryClient();
  const navigate = useNavigate();
  const act = useMutation({
    mutationFn: (action: IncidentAction) => incidents.act(id, action),
    onSuccess: (now) => {
      client.setQueryData(["incident", id], now);
      void client.invalidateQueries({ queryKey: ["incidents"] });
    },
    onError: () => void client.invalidateQueries({ queryKey: ["incident", id], exact: true }),
  });
  const can = possible(incident);
  const go = (by: number) => {
    const number = incident.number + by;
    if (number > 0) void navigate({ to: "/incidents/$id", params: { id: String(number) } });
  };
  useHotkeys({
    a: can.acknowledge ? () => act.mutate("acknowledge") : undefined,
    i: can.investigate ? () => act.mutate("investigate") : undefined,
    u: () => void navigate({ to: "/incidents" }),
    "[": () => go(1),
    "]": () => go(-1),
  });

  const newest = [...(findings.data ?? [])].sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
  const run = runs.data?.find((r) => r.id === incident.run_id);
  const button = (action: IncidentAction, label: string, primary = false) => (
    <Button
      key={action}
      variant={primary ? "filled" : "default"}
      size="sm"
      loading={act.isPending && act.variables === action}
      disabled={act.isPending}
      onClick={() => act.mutate(action)}
    >
      {label}
    </Button>
  );

  return (
    <div className={css.page}>
      <Back />
      <div>
        <header className={css.header}>
          <span className={css.bar} style={{ background: severityTone(incident.severity) }} />
          <h1>
            <span className="faint num">#{incident.number}</span> {inert(incident.title)}
          </h1>
          <div className={css.marks}>
            <SeverityMark value={incident.severity} chip />
            <StatusMark value={incident.status} chip />
            {incident.investigation ? <InvestigationMark value={incident.investigation} chip /> : <InvestigationMark value="" />}
            <span>
              opened <Ago at={incident.opened_at} suffix=" ago" />
            </span>
            <span>from {inert(incident.source) || "a person"}</span>
          </div>
          <p className={css.need}>{need(incident, newest[0]?.run_id === incident.run_id ? newest[0]?.finding : undefined)}</p>
        </header>
        <div className={css.acts}>
          {can.acknowledge && button("acknowledge", "Acknowledge", true)}
          {can.resolve && button("resolve", "Resolve")}
          {can.investigate && button("investigate", incident.investigation ? "Investigate again" : "Investigate", !can.acknowledge && !incident.investigation)}
          {can.cancel && button("cancel", "Cancel the investigation")}
          {can.close && button("close", "Close")}
        </div>
        <div className={css.below}>
          {act.error && <Problem what="That did not work." error={act.error} />}
          {stale !== null && <Problem what="The incident could not be refreshed." error={stale} kept="What is shown is from before." />}
          {findings.error && !findings.data && <Problem what="The findings could not be read." error={findings.error} retry={() => void findings.refetch()} />}
        </div>
        {incident.description && <p className={css.description}>{inertLines(incident.description)}</p>}
        <Findings findings={newest} onCite={setFocus} />
        <Alerts alerts={alerts.data} error={alerts.error} retry={() => void alerts.refetch()} />
        <Timeline
          data={timeline}
          state={state}
          calls={calls.data ?? noCalls}
          liveRun={isLive(incident.investigation) ? (incident.run_id ?? "") : ""}
          focus={focus}
          baseline={baseline}
        />
      </div>
      <aside className={css.side} aria-label="Facts">
        <dl className={css.facts}>
          <Fact name="Source">{inert(incident.source) || "a person"}</Fact>
          {incident.service && <Fact name="Service">{inert(incident.service)}</Fact>}
          <Fact name="Alerts">
            <span className="num">
              {incident.firing_count} firing of {incident.alert_count}
            </span>
          </Fact>
          {incident.assignee && <Fact name="Assignee">{inert(incident.assignee)}</Fact>}
          <Fact name="Opened">
            <Ago at={incident.opened_at} suffix=" ago" />
          </Fact>
          {isTime(incident.resolved_at) && (
            <Fact name="Resolved">
              <Ago at={incident.resolved_at} suffix=" ago" />
            </Fact>
          )}
          {run && <RunFacts run={run} />}
          {timeline.usage.input_tokens > 0 && (
            <>
              {timeline.usage.model && (
                <Fact name="Model">
                  <span className="mono">{inert(timeline.usage.model)}</span>
                </Fact>
              )}
              <Fact name="Tokens">
                <span className="num">
                  {timeline.usage.input_tokens.toLocaleString()} in, {timeline.usage.output_tokens.toLocaleString()} out
                </span>
              </Fact>
            </>
          )}
        </dl>
      </aside>
    </div>
  );
}

const noCalls: never[] = [];

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function RunFacts({ run }: { run: Run }) {
  const now = useNow();
  return (
    <>
      <Fact name="Agent">{inert(run.agent)}</Fact>
      {run.worker && <Fact name="Worker">{inert(run.worker)}</Fact>}
      {isTime(run.started_at) && (
        <Fact name="Took">
          <span className="num">
            {span((isTime(run.ended_at) ? Date.parse(run.ended_at) : Math.max(now, Date.parse(run.started_at))) - Date.parse(run.started_at))}
          </span>
        </Fact>
      )}
      {run.epoch > 1 && <Fact name="Workers lost">{String(run.epoch - 1)}</Fact>}
    </>
  );
}

/** What may be done with an incident as it stands. The api has the last word. */
function possible(incident: Incident) {
  const open = incident.status === "triggered" || incident.status === "acknowledged";
  const live = isLive(incident.investigation);
  return {
    acknowledge: incident.status === "triggered",
    resolve: open,
    investigate: !live && incident.status !== "closed" && incident.status !== "merged",
    cancel: live,
    close: incident.status === "resolved",
  };
}

/** Says what is wanted of the reader, before any scrolling. */
function need(incident: Incident, finding: Finding | undefined): ReactNode {
  const reason = inert(incident.investigation_reason);
  if (incident.status === "closed" || incident.status === "merged") return "Nothing is left to do here.";
  switch (incident.investigation) {
    case "queued":
      return "The investigation waits for a free worker. Nothing is needed from you yet.";
    case "running":
      return "The agent is investigating. Nothing is needed from you yet.";
    case "waiting_approval":
      return <strong>The agent waits for a decision.</strong>;
    case "failed":
      return (
        <>
          <strong>The investigation failed</strong>
          {reason && `: ${reason}`}. Look for yourself, or let it try again.
        </>
      );
    case "cancelled":
      return <>The investigation was cancelled{reason && `: ${reason}`}.</>;
    case "inconclusive":
      return (
        <>
          <strong>The investigation found no cause that it can prove</strong>
          {reason && `: ${reason}`}. What it ruled out is below.
        </>
      );
    case "concluded": {
      if (incident.status === "resolved") return "Resolved. The cause is below.";
      const n = finding?.actions?.length ?? 0;
      return n > 0 ? (
        <>
          The cause is below. <strong>{n === 1 ? "One action is" : `${n} actions are`} recommended</strong>, for you to take.
        </>
      ) : (
        "The cause is below."
      );
    }
    default:
      return incident.status === "resolved" ? "Resolved without an investigation." : "Nobody has looked at this yet.";
  }
}
