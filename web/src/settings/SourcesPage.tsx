import { Button, NativeSelect, PasswordInput, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { sources } from "../api/calls";
import type { Source } from "../api/types";
import { inert } from "../text/visible";
import { SourceIcon } from "../ui/icons";
import { Ago, Copy, Problem, Snippet } from "../ui/parts";
import { Chip } from "../ui/state";
import { type Column, full, Made, nameField, Once, optional, Settings, Sub, text } from "./settings";
import css from "./settings.module.css";
import { mappingExample, readSettings, sourceKind, sourceKinds, testAlert } from "./sources";

export function SourcesPage() {
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
      <>
        {inert(s.name)} {!s.enabled && <Chip tone="quiet">Off</Chip>}
      </>
    ),
  },
  { label: "Kind", show: (s) => sourceKind(s.kind)?.label ?? inert(s.kind) },
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
          {h.rejected.toLocaleString()} with a wrong {source.auth}, the last <Ago at={h.last_rejected_at} suffix=" ago" />
        </Sub>
      )}
      {h.unparsable > 0 && (
        <Sub bad>
          {h.unparsable.toLocaleString()} could not be read: {inert(h.last_error)}
        </Sub>
      )}
      {h.warnings?.map((w) => (
        <Sub key={w.code} bad>
          <Ago at={w.at} suffix=" ago" />: {inert(w.text)}
        </Sub>
      ))}
    </>
  );
}

function NewSource({ source, close }: { source: Source; close: () => void }) {
  const secret = source.secret ?? "THE SECRET";
  const [steps] = useState(() => sourceKind(source.kind)?.steps(source, secret) ?? []);
  const [test] = useState(() => testAlert(source, secret, new Date()));
  // PagerDuty makes the secret that it signs with, after it was told the address.
  const theirs = source.kind === "pagerduty" && source.auth === "signature";
  return (
    <Made title={`${inert(source.name)} is ready`} close={close}>
      {source.secret && !theirs && <Once>The secret is shown only now. It cannot be read again, only replaced.</Once>}
      <div>
        <h3>Webhook address</h3>
        <Snippet text={source.webhook_url} label="the webhook address" wrap />
      </div>
      {source.secret && !theirs && (
        <div>
          <h3>Secret</h3>
          <Snippet text={source.secret} label="the secret" wrap />
        </div>
      )}
      {steps.map((s) => (
        <div key={s.label}>
          <h3>{s.title}</h3>
          <Snippet text={s.text.trimEnd()} label={s.label} wrap={s.wrap} />
        </div>
      ))}
      {theirs && <TheirSecret source={source} />}
      {test && (
        <div>
          <h3>Or try it at once with a test alert</h3>
          <Snippet text={test.trimEnd()} label="the test alert" wrap />
        </div>
      )}
    </Made>
  );
}

/** Takes the secret that the sender has made. Until then the source refuses everything. */
function TheirSecret({ source }: { source: Source }) {
  const client = useQueryClient();
  const save = useMutation({
    mutationFn: (secret: string) => sources.replaceSecret(source.id, { secret, revoke_old: true }),
    onSuccess: () => void client.invalidateQueries({ queryKey: ["sources"] }),
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    save.mutate(text(new FormData(event.currentTarget), "secret"));
    event.currentTarget.reset();
  };
  return (
    <form onSubmit={submit} autoComplete="off">
      <h3>The answer has the secret that PagerDuty signs with (delivery_method.secret)</h3>
      <PasswordInput name="secret" label="Signing secret" required minLength={8} maxLength={256} autoComplete="off" />
      {save.error && <Problem what="The secret was not saved." error={save.error} />}
      {save.isSuccess && <p role="status">Saved. Deliveries are taken from now on.</p>}
      <div className={css.buttons}>
        <Button type="submit" loading={save.isPending}>
          Save the secret
        </Button>
      </div>
    </form>
  );
}
