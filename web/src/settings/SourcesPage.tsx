import { NativeSelect, Textarea, TextInput } from "@mantine/core";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";
import { sources } from "../api/calls";
import type { Source } from "../api/types";
import { inSetUpMode } from "../sources/Modes";
import { theirs, TheirSecret } from "../sources/Secret";
import { SetupSteps } from "../sources/Setup";
import { sourceState } from "../sources/state";
import { StateMark } from "../sources/StateMark";
import { inert } from "../text/visible";
import { SourceIcon } from "../ui/icons";
import { Ago, Left, Snippet, useNow } from "../ui/parts";
import { type Column, full, Made, nameField, Once, optional, Settings, Sub, text } from "./settings";
import { mappingExample, readSettings, sourceKind, sourceKinds } from "./sources";

export function SourcesPage() {
  const { user } = getRouteApi("/signed-in").useRouteContext();
  return (
    <Settings
      title="Sources"
      noun="source"
      name="sources"
      lead="Where alerts come from. Each source has a webhook address and a secret of its own; what arrives with a wrong secret is refused and counted."
      art={<SourceIcon size={20} />}
      empty="A source gives you a webhook address and a secret to paste into Alertmanager, Grafana, PagerDuty, Datadog, Zabbix or anything that can POST JSON. The first alert that arrives opens an incident."
      list={sources.list}
      every={5_000}
      may={user.actions.includes("sources.manage")}
      columns={columns}
      create={sources.create}
      read={(form) => ({
        name: text(form, "name"),
        kind: text(form, "kind"),
        auth: optional(form, "auth") as Source["auth"] | undefined,
        settings: readSettings(text(form, "settings")),
      })}
      fields={<Fields />}
      made={(source, close) => <NewSource source={source} close={close} />}
    />
  );
}

const authLabels: Record<Source["auth"], string> = {
  secret: "It sends the secret",
  signature: "It signs with the secret",
};

function Fields() {
  const [kind, setKind] = useState("alertmanager");
  const auth = sourceKind(kind)?.auth ?? [];
  return (
    <>
      <TextInput {...nameField} placeholder="alertmanager-prod" />
      <NativeSelect
        name="kind"
        label="Kind"
        value={kind}
        onChange={(e) => setKind(e.currentTarget.value)}
        data={sourceKinds.map(({ value, label }) => ({ value, label }))}
      />
      {auth.length > 1 && (
        <NativeSelect
          key={kind}
          name="auth"
          label="How it proves itself"
          data={auth.map((value) => ({ value, label: authLabels[value] }))}
        />
      )}
      {kind === "webhook" && (
        <Textarea
          name="settings"
          className={full}
          label="Mapping"
          description="Where an alert's fields are in the body: $ is the body, @ the alert. Empty if it has the usual names."
          placeholder={mappingExample}
          autosize
          minRows={4}
          spellCheck={false}
        />
      )}
    </>
  );
}

const columns: Column<Source>[] = [
  {
    label: "Name",
    show: (s) => (
      <Link to="/sources/$id" params={{ id: s.id }}>
        {inert(s.name)}
      </Link>
    ),
  },
  { label: "State", show: (s) => <State source={s} /> },
  { label: "Kind", show: (s) => sourceKind(s.kind)?.label ?? inert(s.kind) },
  { label: "Last delivery", show: (s) => <Last source={s} /> },
];

function State({ source }: { source: Source }) {
  return <StateMark value={sourceState(source, useNow())} chip />;
}

/** When something came last, and the one thing that is most wrong. The rest stands on the source's page. */
function Last({ source }: { source: Source }) {
  const h = source.health;
  const now = useNow();
  const warning = h.warnings?.find((w) => w.code !== "set_up_mode");
  return (
    <>
      {h.deliveries === 0 ? (
        <span className="faint">Nothing has arrived yet</span>
      ) : (
        <span>
          <Ago at={h.last_delivery_at} suffix=" ago" />, <span className="num">{h.deliveries.toLocaleString()}</span> in all
        </span>
      )}
      {inSetUpMode(source, now) && source.verify_until && (
        <Sub bad>
          Set-up mode for <Left until={source.verify_until} /> more: what does not prove itself is kept and not read
        </Sub>
      )}
      {warning ? (
        <Sub bad>{inert(warning.text)}</Sub>
      ) : h.rejected_since > 0 ? (
        <Sub bad>
          {h.rejected_since.toLocaleString()} refused for a wrong {source.auth} since the last that was right
        </Sub>
      ) : (
        h.unparsable > 0 && (
          <Sub bad>
            {h.unparsable.toLocaleString()} could not be read: {inert(h.last_error)}
          </Sub>
        )
      )}
    </>
  );
}

function NewSource({ source, close }: { source: Source; close: () => void }) {
  const own = !theirs(source) && source.secret;
  return (
    <Made title={`${inert(source.name)} is ready`} close={close}>
      {own && <Once>The secret is shown only now. It cannot be read again, only replaced.</Once>}
      <div>
        <h3>Webhook address</h3>
        <Snippet text={source.webhook_url} label="the webhook address" wrap />
      </div>
      {own && (
        <div>
          <h3>Secret</h3>
          <Snippet text={own} label="the secret" wrap />
        </div>
      )}
      <SetupSteps source={source} secret={source.secret} />
      {theirs(source) && <TheirSecret source={source} />}
      <p>
        <Link to="/sources/$id" params={{ id: source.id }}>
          Send a test event, and see what arrives
        </Link>
      </p>
    </Made>
  );
}
