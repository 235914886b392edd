import { Button } from "@mantine/core";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { useMay, useUser } from "../accounts/may";
import { approvals, groupingRules, type IncidentAction, incidents } from "../api/calls";
import { ApiError } from "../api/client";
import { ApprovalCard } from "../approvals/Card";
import type { Finding, Incident, Run } from "../api/types";
import { absolute, isTime, span } from "../text/time";
import { inert, inertLines } from "../text/visible";
import type { Focus } from "../timeline/Call";
import { Timeline } from "../timeline/Timeline";
import type { Spent } from "../timeline/rows";
import { useTimeline } from "../timeline/useTimeline";
import { useHotkeys } from "../ui/hotkeys";
import { BackIcon } from "../ui/icons";
import { Ago, Empty, Left, LoadingRows, Problem, useNow, useTitle } from "../ui/parts";
import { Chip, InvestigationMark, isLive, SeverityMark, severityTone, StatusMark } from "../ui/state";
import { Alerts } from "./Alerts";
import { type Change, ChangeForm } from "./Changes";
import { Export } from "./Export";
import { Family } from "./Family";
import { Findings } from "./Findings";
import { Say } from "./Say";
import { Similar } from "./Similar";
import css from "./IncidentPage.module.css";

export function IncidentPage() {
  const { id } = getRouteApi("/signed-in/incidents/$id").useParams();
  const query = useQuery({
    queryKey: ["incident", id],
    queryFn: ({ signal }) => incidents.get(id, { signal }),
    // The timeline says when it changes; this is for when the timeline cannot.
    refetchInterval: 15_000,
  });
  const navigate = useNavigate();
  const at = query.data?.number ?? Number(id); // not a number: it was not found by its long id
  const go = (number: number) => (number > 0 ? () => void navigate({ to: "/incidents/$id", params: { id: String(number) } }) : undefined);
  useHotkeys("around", { "[": go(at + 1), "]": go(at - 1), u: () => void navigate({ to: "/incidents" }) });
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
      <LoadingRows rows={8} />
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
  const alerts = useInfiniteQuery({
    ...part,
    queryKey: ["incident", id, "alerts"],
    queryFn: ({ signal, pageParam }) => incidents.alerts(id, pageParam, { signal }),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor || undefined,
  });
  const calls = useQuery({ ...part, queryKey: ["incident", id, "calls"], queryFn: ({ signal }) => incidents.calls(id, { signal }) });
  const findings = useQuery({ ...part, queryKey: ["incident", id, "findings"], queryFn: ({ signal }) => incidents.findings(id, { signal }) });
  const runs = useQuery({ ...part, queryKey: ["incident", id, "runs"], queryFn: ({ signal }) => incidents.runs(id, { signal }) });
  const [baseline] = useState(incident.last_seq);
  const { timeline, state } = useTimeline(id, baseline);
  const [focus, setFocus] = useState<Focus | null>(null);

  const client = useQueryClient();
  const act = useMutation({
    mutationFn: (action: IncidentAction) => incidents.act(id, action),
    onSuccess: (now) => {
      client.setQueryData(["incident", id], now);
      void client.invalidateQueries({ queryKey: ["incidents"] });
    },
    onError: () => void client.invalidateQueries({ queryKey: ["incident", id], exact: true }),
  });
  const may = useMay();
  const can = possible(incident, may("incidents.respond"));
  const [change, setChange] = useState<Change | null>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const closed = useRef(false);
  useEffect(() => {
    // The focus goes back to where it was before the form had it.
    if (change === null && closed.current) opener.current?.focus();
    closed.current = change !== null;
  }, [change]);
  useHotkeys("incident", {
    a: can.acknowledge ? () => act.mutate("acknowledge") : undefined,
    i: can.investigate ? () => act.mutate("investigate") : undefined,
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
            <span>{incident.assignee ? `assigned to ${inert(incident.assignee)}` : "assigned to nobody"}</span>
            <span>from {inert(incident.source) || "a person"}</span>
            <Marks incident={incident} />
          </div>
          <p className={css.need}>{need(incident, newest[0]?.run_id === incident.run_id ? newest[0]?.finding : undefined)}</p>
        </header>
        <div className={css.acts}>
          {can.acknowledge && button("acknowledge", "Acknowledge", true)}
          {can.resolve && button("resolve", "Resolve")}
          {can.investigate && button("investigate", incident.investigation ? "Investigate again" : "Investigate", !can.acknowledge && !incident.investigation)}
          {can.cancel && button("cancel", "Cancel the investigation")}
          {can.close && button("close", "Close")}
          {can.change &&
            changes.map(([name, label]) => (
              <Button
                key={name}
                variant="subtle"
                color="gray"
                size="sm"
                aria-expanded={change === name}
                onClick={(e) => {
                  opener.current = e.currentTarget;
                  setChange(change === name ? null : name);
                }}
              >
                {label}
              </Button>
            ))}
          <Export incident={incident} />
        </div>
        <div className={css.below}>
          {change !== null && can.change && <ChangeForm key={change} change={change} incident={incident} close={() => setChange(null)} />}
          {act.error && <Problem what="That did not work." error={act.error} />}
          {stale !== null && <Problem what="The incident could not be refreshed." error={stale} kept="What is shown is from before." />}
          {findings.error && !findings.data && <Problem what="The findings could not be read." error={findings.error} retry={() => void findings.refetch()} />}
        </div>
        <Approvals incident={incident} />
        {incident.description && <p className={css.description}>{inertLines(incident.description)}</p>}
        <Findings findings={newest} onCite={setFocus} incident={id} service={incident.service} />
        <Alerts
          incident={can.change ? incident : undefined}
          alerts={alerts.data?.pages.flatMap((page) => page.items)}
          total={incident.alert_count}
          firing={incident.firing_count}
          error={alerts.error}
          retry={() => void alerts.refetch()}
          more={alerts.hasNextPage ? () => void alerts.fetchNextPage() : undefined}
          loading={alerts.isFetchingNextPage}
        />
        <Similar id={id} />
        <Family runs={runs.data ?? noCalls} root={incident.run_id ?? ""} />
        <Timeline
          incident={incident.id}
          data={timeline}
          state={state}
          calls={calls.data ?? noCalls}
          liveRun={isLive(incident.investigation) ? (incident.run_id ?? "") : ""}
          focus={focus}
          baseline={baseline}
        >
          {can.say && <Say incident={incident} run={run} />}
        </Timeline>
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
          <Fact name="Assignee">{inert(incident.assignee) || <span className="faint">Nobody</span>}</Fact>
          <Fact name="Opened">
            <Ago at={incident.opened_at} suffix=" ago" />
          </Fact>
          {isTime(incident.resolved_at) && (
            <Fact name="Resolved">
              <Ago at={incident.resolved_at} suffix=" ago" />
            </Fact>
          )}
          {isTime(incident.resolve_at) && (
            <Fact name="Resolves">
              in <Left until={incident.resolve_at} />, unless it fires again
            </Fact>
          )}
          {(incident.reopened ?? 0) > 0 && <Fact name="Reopened">{`${incident.reopened} times`.replace(/^1 times$/, "once")}</Fact>}
          {(incident.rule_id || incident.group_key) && (
            <Fact name="Grouped by">
              {incident.rule_id ? <RuleName id={incident.rule_id} /> : "its sender"}
              {incident.group_key && <span className={`${css.key} mono faint`}>{inert(incident.group_key)}</span>}
            </Fact>
          )}
          {(incident.edited ?? []).length > 0 && <Fact name="Set by hand">{(incident.edited ?? []).map(inert).join(", ")}</Fact>}
          {run && <RunFacts run={run} />}
          {timeline.usage.input_tokens > 0 && (
            <>
              <Fact name="Cost">
                <span className="num">{cost(timeline.usage)}</span>
              </Fact>
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

/** What the agent waits for, where it is seen first. */
function Approvals({ incident }: { incident: Incident }) {
  const user = useUser();
  const query = useQuery({
    queryKey: ["approvals", "incident", incident.id],
    queryFn: ({ signal }) => approvals.list({ state: "pending", incident: incident.id }, { signal }),
    enabled: isLive(incident.investigation),
    refetchInterval: 3_000,
  });
  const waiting = isLive(incident.investigation) ? (query.data?.items ?? []) : [];
  if (waiting.length === 0) return null;
  return (
    <section className={css.approvals} aria-label="Waiting for your decision">
      {waiting.map((a, i) => (
        <ApprovalCard key={a.id} approval={a} who={user.username} mayDecide={user.actions.includes("approvals.decide")} above={waiting.slice(0, i).map((b) => b.id).join()} keys={i === 0} />
      ))}
    </section>
  );
}

const noCalls: never[] = [];

const changes: [Change, string][] = [
  ["assign", "Assign"],
  ["edit", "Edit"],
  ["merge", "Merge"],
];

/** What is out of the ordinary about it. */
function Marks({ incident }: { incident: Incident }) {
  return (
    <>
      {incident.storm && (
        <Chip tone="high" title="Its source sends more new incidents a minute than it may: they are collected here.">
          Storm
        </Chip>
      )}
      {incident.flapping && (
        <Chip tone="warning" title={`It began or ceased to fire ${incident.transitions ?? 0} times.`}>
          Flapping
        </Chip>
      )}
      {incident.maintenance && (
        <Chip
          tone={isTime(incident.maintenance_until) ? "info" : "quiet"}
          title={isTime(incident.maintenance_until) ? `Until ${absolute(incident.maintenance_until)} nothing investigates it.` : "It came during planned work, which is over."}
        >
          {`Maintenance: ${inert(incident.maintenance)}`}
        </Chip>
      )}
    </>
  );
}

function MergedInto({ id }: { id: string }) {
  const query = useQuery({ queryKey: ["incident", id, "named"], queryFn: ({ signal }) => incidents.get(id, { signal }) });
  return (
    <Link to="/incidents/$id" params={{ id: query.data ? String(query.data.number) : id }} className={css.into}>
      {query.data ? `#${query.data.number} ${inert(query.data.title)}` : "another incident"}
    </Link>
  );
}

function RuleName({ id }: { id: string }) {
  const query = useQuery({ queryKey: ["grouping-rules"], queryFn: groupingRules.list });
  const rule = query.data?.find((r) => r.id === id);
  if (query.data && !rule) return "a rule that is gone";
  return <Link to="/grouping">{rule ? inert(rule.name) : "a rule"}</Link>;
}

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
      {run.epoch > 1 && <Fact name="Taken up">{`${run.epoch} times`}</Fact>}
    </>
  );
}

/** What all turns in this incident cost, as far as anybody knows. */
function cost({ cost_usd, unpriced }: Spent): string {
  if (cost_usd === 0) return unpriced > 0 ? "Not known" : "Nothing";
  const digits = cost_usd < 0.1 ? 4 : 2;
  return `${unpriced > 0 ? "At least " : ""}$${cost_usd.toFixed(digits)}`;
}

/** What may be done with an incident as it stands. The api has the last word. */
function possible(incident: Incident, mayRespond: boolean) {
  const open = incident.status === "triggered" || incident.status === "acknowledged";
  const live = isLive(incident.investigation);
  return {
    acknowledge: mayRespond && incident.status === "triggered",
    resolve: mayRespond && open,
    investigate: mayRespond && !live && incident.status !== "closed" && incident.status !== "merged",
    cancel: mayRespond && live,
    close: mayRespond && incident.status === "resolved",
    change: mayRespond && incident.status !== "merged",
    say: mayRespond && incident.status !== "merged",
  };
}

/** How the api begins to say why nothing was started. */
const kept = "not investigated: ";

/** Says what is wanted of the reader, before any scrolling. */
function need(incident: Incident, finding: Finding | undefined): ReactNode {
  const reason = inert(incident.investigation_reason);
  if (incident.status === "merged" && incident.merged_into) {
    return (
      <>
        Now a part of <MergedInto id={incident.merged_into} />. Go on there.
      </>
    );
  }
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
      if (incident.status !== "resolved" && reason.startsWith(kept)) return `Nothing investigates it: ${reason.slice(kept.length)}.`;
      return incident.status === "resolved" ? "Resolved without an investigation." : "Nobody has looked at this yet.";
  }
}
