import { Button, NativeSelect, PasswordInput, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { credentials } from "../api/calls";
import type { Body, Credential } from "../api/types";
import { Remove } from "../grouping/Remove";
import { inert } from "../text/visible";
import { Form } from "../ui/form";
import { KeyIcon } from "../ui/icons";
import { Ago, Problem } from "../ui/parts";
import enrol from "./enrol.module.css";
import { type Column, full, nameField, optional, Settings, Sub, text } from "./settings";

type Kind = Body<"NewCredentialBody">["kind"];

/** What is asked for of each kind, and what it is for. */
const kinds: { value: Kind; label: string; secret: string; help: string; of: "targets" | "providers" | "hosts" }[] = [
  { value: "ssh_key", label: "SSH private key", secret: "Private key", help: "In OpenSSH or PEM form, whole. Write-only.", of: "targets" },
  { value: "ssh_password", label: "SSH password", secret: "Password", help: "Write-only.", of: "targets" },
  { value: "zabbix_token", label: "Zabbix API token", secret: "Token", help: "Write-only.", of: "targets" },
  { value: "zabbix_password", label: "Zabbix password", secret: "Password", help: "Of the user that the target names. Write-only.", of: "targets" },
  { value: "http_bearer", label: "HTTP bearer token", secret: "Token", help: "Write-only.", of: "hosts" },
  { value: "http_header", label: "HTTP header", secret: "Value", help: "Of the header that the tool server names. Write-only.", of: "hosts" },
  { value: "http_basic", label: "HTTP user and password", secret: "user:password", help: "With a colon in between. Write-only.", of: "hosts" },
  { value: "llm_key", label: "LLM provider key", secret: "Key", help: "Write-only.", of: "providers" },
];

const examples = { targets: "db-* web-1", providers: "openai", hosts: "grafana.example.com" };

export function CredentialsPage() {
  const may = useMay()("inventory.manage");
  const [chosen, setChosen] = useState("");
  const all = useQuery({ queryKey: ["credentials"], queryFn: credentials.list });
  const one = all.data?.find((c) => c.id === chosen);
  return (
    <Settings
      title="Credentials"
      noun="credential"
      name="credentials"
      may={may}
      lead="What the gateway logs in with and what the proxy pays the model with. A secret is sealed as it is saved; neither this page nor the agent can read it back."
      art={<KeyIcon size={20} />}
      empty="Add the key that the gateway logs in to your hosts with, or the key of your LLM provider."
      list={credentials.list}
      columns={may ? [...columns, { label: "", end: true, show: (c) => <Change credential={c} open={setChosen} /> }] : columns}
      create={credentials.create}
      above={may && one && <Changes key={one.id} credential={one} close={() => setChosen("")} />}
      read={(form) => ({
        name: text(form, "name"),
        kind: text(form, "kind") as Kind,
        ...secretOf(form),
        targets: text(form, "targets")
          .split(/[\s,]+/)
          .filter(Boolean),
      })}
      fields={<Fields />}
    />
  );
}

/** The secret as it was pasted: an SSH key needs its last line end. */
function secretOf(form: FormData) {
  const passphrase = String(form.get("passphrase") ?? "");
  return { secret: String(form.get("secret") ?? ""), ...(passphrase ? { passphrase } : {}), certificate: optional(form, "certificate") };
}

function Fields() {
  const [kind, setKind] = useState<Kind>("ssh_key");
  const of = kinds.find((k) => k.value === kind)?.of ?? "targets";
  return (
    <>
      <TextInput {...nameField} placeholder={kind === "llm_key" ? "openai" : "ops-key"} />
      <NativeSelect
        name="kind"
        label="Kind"
        data={kinds.map(({ value, label }) => ({ value, label }))}
        value={kind}
        onChange={(e) => setKind(e.currentTarget.value as Kind)}
      />
      <SecretFields kind={kind} />
      <TextInput
        className={full}
        name="targets"
        label={`For which ${of}`}
        description={`Names or patterns such as ${of === "targets" ? "db-*" : examples[of]}, separated by spaces. The secret opens for nothing else.`}
        placeholder={examples[of]}
        required
        spellCheck={false}
        autoCapitalize="none"
      />
    </>
  );
}

function SecretFields({ kind }: { kind: string }) {
  const about = kinds.find((k) => k.value === kind);
  if (kind !== "ssh_key") {
    return <PasswordInput className={full} name="secret" label={about?.secret ?? "Secret"} description={about?.help} required autoComplete="new-password" />;
  }
  return (
    <>
      <Textarea
        className={full}
        name="secret"
        label={about?.secret}
        description={about?.help}
        placeholder="-----BEGIN OPENSSH PRIVATE KEY-----"
        rows={5}
        required
        spellCheck={false}
        autoComplete="off"
      />
      <PasswordInput className={full} name="passphrase" label="Passphrase" description="If it has one." autoComplete="new-password" />
      <Textarea
        className={full}
        name="certificate"
        label="Certificate"
        description="If hosts trust an authority: what is in its file …-cert.pub."
        placeholder="ssh-ed25519-cert-v01@openssh.com AAAA…"
        rows={2}
        spellCheck={false}
        autoComplete="off"
      />
    </>
  );
}

/** Another secret for a credential, or an end to its use. */
function Changes({ credential: c, close }: { credential: Credential; close: () => void }) {
  const client = useQueryClient();
  const [sure, setSure] = useState(false);
  const done = () => void client.invalidateQueries({ queryKey: ["credentials"] });
  const rotate = useMutation({
    mutationFn: (body: Body<"RotationBody">) => credentials.rotate(c.id, body),
    onSuccess: () => {
      done();
      close();
    },
  });
  const disable = useMutation({
    mutationFn: (disabled: boolean) => credentials.disable(c.id, disabled),
    onSettled: () => setSure(false),
    onSuccess: done,
  });
  const name = inert(c.name);
  const submit = (form: FormData) => rotate.mutate(secretOf(form));
  const off = () => {
    if (sure) disable.mutate(true);
    else setSure(true);
  };
  return (
    <section className={enrol.box} aria-label={`Change ${name}`}>
      <h2>{name}</h2>
      <Form className={enrol.form} submit={submit} label={`New secret of ${name}`}>
        <SecretFields kind={c.kind} />
        {rotate.error && <Problem what="Nothing was changed." error={rotate.error} />}
        <div className={enrol.buttons}>
          <Button type="submit" loading={rotate.isPending}>
            Replace the secret
          </Button>
          {c.disabled_at ? (
            <Button variant="default" loading={disable.isPending} onClick={() => disable.mutate(false)}>
              Enable it again
            </Button>
          ) : (
            <Button variant={sure ? "filled" : "default"} color={sure ? "red" : undefined} loading={disable.isPending} onClick={off}>
              {sure ? "Disable it: what runs with it stops" : "Disable"}
            </Button>
          )}
          <Button variant="subtle" color="gray" onClick={close}>
            Close
          </Button>
        </div>
        {disable.error && <Problem what="Nothing was changed." error={disable.error} />}
      </Form>
    </section>
  );
}

function Change({ credential, open }: { credential: Credential; open: (id: string) => void }) {
  const client = useQueryClient();
  const choose = () => {
    open(credential.id);
    window.scrollTo({ top: 0 });
  };
  return (
    <div className={enrol.row}>
      <Button size="compact-sm" variant="default" onClick={choose} aria-label={`Change ${inert(credential.name)}`}>
        Change
      </Button>
      <Remove name={credential.name} remove={() => credentials.remove(credential.id)} then={() => client.invalidateQueries({ queryKey: ["credentials"] })} />
    </div>
  );
}

const columns: Column<Credential>[] = [
  {
    label: "Name",
    show: (c) => (
      <>
        {inert(c.name)}
        {c.disabled_at && <Sub bad>Disabled</Sub>}
      </>
    ),
  },
  { label: "Kind", show: (c) => kinds.find((k) => k.value === c.kind)?.label ?? inert(c.kind) },
  { label: "Only for", show: (c) => <code>{(c.targets ?? []).map(inert).join(" ")}</code> },
  { label: "Version", show: (c) => <span className="num">{c.version}</span> },
  { label: "Saved", show: (c) => <Ago at={c.rotated_at ?? c.created_at} suffix=" ago" /> },
];
