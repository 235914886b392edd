import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import { sources } from "../api/calls";
import { ApiError } from "../api/client";
import type { Source } from "../api/types";
import { sourceKind } from "../settings/sources";
import { inert } from "../text/visible";
import { BackIcon } from "../ui/icons";
import kit from "../ui/kit.module.css";
import { Copy, Empty, LoadingRows, Problem, useNow, useTitle } from "../ui/parts";
import { Fact, Health } from "./Health";
import { Letters } from "./Letters";
import { Banners, Delete, SetUpMode } from "./Modes";
import { showRate, showSpan, timeFields } from "./options";
import { canBeAsked, Reconcile } from "./Reconcile";
import { Secret, theirs } from "./Secret";
import { SettingsForm } from "./SettingsForm";
import { SetupSteps } from "./Setup";
import css from "./sources.module.css";
import { sourceState } from "./state";
import { StateMark } from "./StateMark";
import { TestEvent } from "./TestEvent";

/** One source: whether it works, how its sender is configured, what could not be read, and its settings. */
export function SourcePage() {
  const { id } = getRouteApi("/signed-in/sources/$id").useParams();
  const { user } = getRouteApi("/signed-in").useRouteContext();
  const query = useQuery({ queryKey: ["sources", id], queryFn: ({ signal }) => sources.get(id, { signal }), refetchInterval: 5_000 });
  useTitle(query.data ? inert(query.data.name) : "Source");
  const missing = query.error instanceof ApiError && query.error.status === 404;
  return (
    <div className={css.page}>
      <nav className={kit.back} aria-label="Back">
        <Link to="/sources">
          <BackIcon size={14} /> Sources
        </Link>
      </nav>
      {missing ? (
        <Empty title="There is no such source" more={<Link to="/sources">To the sources</Link>}>
          It may have been deleted. Its incidents and their alerts stay.
        </Empty>
      ) : query.data ? (
        <>
          {query.error && <Problem what="The source could not be refreshed." error={query.error} kept="What is shown is from before." />}
          <Loaded key={id} source={query.data} may={user.actions.includes("sources.manage")} />
        </>
      ) : query.error ? (
        <Problem what="The source could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <LoadingRows rows={8} />
      )}
    </div>
  );
}

function Loaded({ source, may }: { source: Source; may: boolean }) {
  const now = useNow();
  const [made, setMade] = useState<string>();
  // Whoever comes here before the first delivery comes to configure the sender.
  const [fresh] = useState(source.health.deliveries === 0);
  return (
    <>
      <header className={css.head}>
        <h1>{inert(source.name)}</h1>
        <div className={css.marks}>
          <StateMark value={sourceState(source, now)} chip />
          <span>{sourceKind(source.kind)?.label ?? inert(source.kind)}</span>
          <span>proves itself by its {source.auth}</span>
        </div>
        <div className={css.address}>
          <code>{inert(source.webhook_url)}</code>
          <Copy text={source.webhook_url} label="Copy the address" />
        </div>
      </header>
      <Banners source={source} may={may} />

      <Section title="Health">
        <Health source={source} />
      </Section>
      {may && (
        <Section title="Test" lead="A test alert goes the whole way that a real one goes, and says how far it came.">
          <TestEvent source={source} />
        </Section>
      )}
      <Section id="letters" title="Deliveries" lead="What could not be read is kept as a dead letter. Read it again after the cause is gone: it counts as if it had come when it came.">
        <Letters source={source} may={may} />
      </Section>
      <Section id="setup" title="The sender's configuration">
        <details open={fresh || made !== undefined}>
          <summary>To copy into {sourceKind(source.kind)?.label ?? "the sender"}</summary>
          <SetupSteps source={source} secret={made} />
        </details>
      </Section>
      {canBeAsked(source.kind) && (
        <Section title="Reconciliation" lead="The sender itself is asked for its open alerts, and what differs is corrected.">
          <Reconcile source={source} may={may} />
        </Section>
      )}
      {may ? (
        <>
          <Section id="settings" title="Settings">
            <SettingsForm source={source} />
          </Section>
          <Section id="secret" title={theirs(source) ? "PagerDuty's secret" : "Secret"}>
            <Secret source={source} made={made} onMade={setMade} />
          </Section>
          <Section title="Set-up mode">
            <SetUpMode source={source} />
          </Section>
          <Section title="Delete">
            <Delete source={source} />
          </Section>
        </>
      ) : (
        <Section title="Settings" lead="Only who may manage sources can change them.">
          <InForce source={source} />
        </Section>
      )}
    </>
  );
}

function Section({ id, title, lead, children }: { id?: string; title: string; lead?: string; children: ReactNode }) {
  return (
    <section id={id} className={css.section} aria-label={title}>
      <div>
        <h2>{title}</h2>
        {lead && <p className={css.help}>{lead}</p>}
      </div>
      {children}
    </section>
  );
}

/** The settings for those who may only read them. */
function InForce({ source }: { source: Source }) {
  const o = source.options;
  const words = Object.entries(o.severities ?? {});
  return (
    <dl className={css.facts}>
      {timeFields.map((f) => (
        <Fact key={f.name} name={f.label}>
          {showSpan(o[f.name]) || f.empty}
        </Fact>
      ))}
      <Fact name="A storm is more new incidents in a minute than">{showRate(o.storm_incidents_per_minute) || "30"}</Fact>
      <Fact name="It is over when it was calm for">{showSpan(o.storm_quiet_seconds) || "5m"}</Fact>
      {words.length > 0 && <Fact name="Severities">{words.map(([word, severity]) => `${inert(word) || "no word"} is ${severity}`).join(", ")}</Fact>}
    </dl>
  );
}
