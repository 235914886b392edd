import { NativeSelect, TextInput } from "@mantine/core";
import { useState } from "react";
import { sources } from "../api/calls";
import type { Source } from "../api/types";
import { inert } from "../text/visible";
import { SourceIcon } from "../ui/icons";
import { Ago, Copy, Snippet } from "../ui/parts";
import { Chip } from "../ui/state";
import { type Column, Made, nameField, Once, Settings, Sub, text } from "./settings";
import css from "./settings.module.css";
import { alertmanagerConfig, sourceKinds, testAlert } from "./sources";

export function SourcesPage() {
  return (
    <Settings
      title="Sources"
      noun="source"
      name="sources"
      lead="Where alerts come from. Each source has a webhook address and a secret of its own; what arrives with a wrong secret is refused and counted."
      art={<SourceIcon size={20} />}
      empty="A source gives you a webhook address and a secret to paste into Alertmanager. The first alert that arrives opens an incident."
      list={sources.list}
      every={5_000}
      columns={columns}
      create={sources.create}
      read={(form) => ({ name: text(form, "name"), kind: text(form, "kind") })}
      fields={
        <>
          <TextInput {...nameField} placeholder="alertmanager-prod" />
          <NativeSelect name="kind" label="Kind" data={sourceKinds} />
        </>
      }
      made={(source, close) => <NewSource source={source} close={close} />}
    />
  );
}

const columns: Column<Source>[] = [
  {
    label: "Name",
    show: (s) => (
      <>
        {inert(s.name)} {!s.enabled && <Chip tone="quiet">Off</Chip>}
      </>
    ),
  },
  { label: "Kind", show: (s) => sourceKinds.find((k) => k.value === s.kind)?.label ?? inert(s.kind) },
  {
    label: "Webhook",
    show: (s) => (
      <span className={css.address}>
        <code>{inert(s.webhook_url)}</code>
        <Copy text={s.webhook_url} label="Copy the address" />
      </span>
    ),
  },
  { label: "Health", show: (s) => <Health source={s} /> },
];

function Health({ source }: { source: Source }) {
  const h = source.health;
  return (
    <>
      {h.deliveries === 0 ? (
        <span className="faint">Nothing has arrived yet</span>
      ) : (
        <span>
          <span className="num">{h.deliveries.toLocaleString()}</span> received, the last <Ago at={h.last_delivery_at} suffix=" ago" />
        </span>
      )}
      {h.rejected > 0 && (
        <Sub bad>
          {h.rejected.toLocaleString()} with a wrong secret, the last <Ago at={h.last_rejected_at} suffix=" ago" />
        </Sub>
      )}
      {h.unparsable > 0 && (
        <Sub bad>
          {h.unparsable.toLocaleString()} could not be read: {inert(h.last_error)}
        </Sub>
      )}
    </>
  );
}

function NewSource({ source, close }: { source: Source; close: () => void }) {
  const secret = source.secret ?? "THE SECRET";
  const [config] = useState(() => alertmanagerConfig(source.webhook_url, secret));
  const [test] = useState(() => testAlert(source.webhook_url, secret, new Date()));
  return (
    <Made title={`${inert(source.name)} is ready`} close={close}>
      {source.secret && (
        <>
          <Once>The secret is shown only now. It cannot be read again, only replaced.</Once>
          <div>
            <h3>Webhook address</h3>
            <Snippet text={source.webhook_url} label="the webhook address" wrap />
          </div>
          <div>
            <h3>Secret</h3>
            <Snippet text={source.secret} label="the secret" wrap />
          </div>
        </>
      )}
      {source.kind === "alertmanager" && (
        <div>
          <h3>Into alertmanager.yml, then reload Alertmanager</h3>
          <Snippet text={config} label="the Alertmanager configuration" />
          <h3 className={css.next}>Or try it at once with a test alert</h3>
          <Snippet text={test.trimEnd()} label="the test alert" wrap />
        </div>
      )}
    </Made>
  );
}
