import { Autocomplete, Button, NativeSelect, NumberInput, PasswordInput, Switch, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useMay } from "../accounts/may";
import { credentials, providers } from "../api/calls";
import type { Provider, ProviderKind } from "../api/types";
import { inert } from "../text/visible";
import { Ends, Form, useSave } from "../ui/form";
import { ModelIcon } from "../ui/icons";
import { Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import { aboutModel, kindLabel, kinds, outcome, priceOf, settingsOf, tokens } from "./providers";
import css from "./settings.module.css";
import own from "./providers.module.css";
import { type Column, full, nameField, Settings, Sub, text } from "./settings";

type Act = { on: string; what: "change" | "test" | "remove" };

export function ProvidersPage() {
  const may = useMay()("inventory.manage");
  const list = useQuery({ queryKey: ["providers"], queryFn: providers.list });
  const [act, setAct] = useState<Act | null>(null);
  const chosen = list.data?.find((p) => p.id === act?.on);
  const close = () => setAct(null);
  const start = (what: Act["what"]) => (p: Provider) => {
    setAct({ on: p.id, what });
    window.scrollTo({ top: 0 });
  };
  return (
    <Settings
      title="LLM providers"
      noun="provider"
      name="providers"
      may={may}
      lead="The models that investigate. The agent reaches them only through the proxy, which puts the key in; the default one is used where nothing else is said."
      art={<ModelIcon size={20} />}
      empty="Add a model of OpenAI, Anthropic, Google or OpenRouter, or an endpoint of your own that speaks OpenAI's protocol."
      list={providers.list}
      columns={may ? [...columns, { label: "", end: true, show: (p) => <Acts provider={p} start={start} /> }] : columns}
      create={providers.create}
      read={(form) => ({ name: text(form, "name"), ...settingsOf(form) })}
      fields={<Fields others={list.data ?? []} may={may} />}
      above={
        may &&
        chosen &&
        (act?.what === "change" ? (
          <Change key={chosen.id} provider={chosen} others={list.data ?? []} close={close} />
        ) : act?.what === "remove" ? (
          <Remove key={chosen.id} provider={chosen} close={close} />
        ) : (
          <Test key={chosen.id} provider={chosen} close={close} />
        ))
      }
    />
  );
}

const columns: Column<Provider>[] = [
  {
    label: "Name",
    show: (p) => (
      <>
        {inert(p.name)} {p.default && <Chip tone="accent">Default</Chip>}
        <Sub>
          {kindLabel(p.kind)}
          {p.allow_private && ", private addresses allowed"}
        </Sub>
      </>
    ),
  },
  {
    label: "Model",
    show: (p) => (
      <>
        <code>{inert(p.model)}</code>
        <Sub>
          {windowOf(p)}
          {p.effort && `, reasons ${p.effort}`}
        </Sub>
      </>
    ),
  },
  {
    label: "A million tokens",
    show: (p) => {
      const price = priceOf(p);
      return price ? (
        <>
          {price.text}
          <Sub>{price.own ? "Your price" : "List price"}</Sub>
        </>
      ) : (
        <span className="faint">Not known</span>
      );
    },
  },
  { label: "Key", show: (p) => inert(p.credential) || <span className="faint">None</span> },
  {
    label: "Without it",
    show: (p) => (
      <>
        {p.fallback ? `→ ${inert(p.fallback)}` : <span className="faint">No fallback</span>}
        <Sub>{p.wait ? `waits up to ${p.wait} min` : "does not wait"}</Sub>
      </>
    ),
  },
];

function windowOf(p: Provider): string {
  const n = p.window || p.model_info?.window;
  return n ? `reads ${tokens(n)} tokens` : "context not known";
}

function Acts({ provider, start }: { provider: Provider; start: (what: Act["what"]) => (p: Provider) => void }) {
  const button = (what: Act["what"], label: string) => (
    <Button size="compact-sm" variant="default" onClick={() => start(what)(provider)} aria-label={`${label} ${inert(provider.name)}`}>
      {label}
    </Button>
  );
  return (
    <div className={own.acts}>
      {button("test", "Test")}
      {button("change", "Change")}
      {button("remove", "Remove")}
    </div>
  );
}

/** The fields of a new provider, or of one that is there. */
function Fields({ provider, others, may }: { provider?: Provider; others: Provider[]; may: boolean }) {
  const [kind, setKind] = useState((provider?.kind ?? "openai") as ProviderKind);
  const [model, setModel] = useState(provider?.model ?? "");
  const [fallback, setFallback] = useState(provider?.fallback ?? "");
  const [credential, setCredential] = useState(provider?.credential ?? "");
  const keys = useQuery({ queryKey: ["credentials"], queryFn: credentials.list, enabled: may });
  const known = useQuery({ queryKey: ["provider-kind", kind], queryFn: (o) => providers.kind(kind, o), staleTime: Infinity });
  const models = known.data?.models ?? [];
  const it = models.find((m) => m.id === model.trim());
  const base = kinds.find((k) => k.value === kind)?.base ?? "";
  // The one that is chosen is among them also while the list is on its way: a
  // save must not lose it.
  const llm = new Set((keys.data ?? []).filter((c) => c.kind === "llm_key").map((c) => c.name));
  if (provider?.credential) llm.add(provider.credential);
  return (
    <>
      {!provider && <TextInput {...nameField} placeholder="main" />}
      <NativeSelect name="kind" label="Vendor" data={kinds} value={kind} onChange={(e) => setKind(e.currentTarget.value as ProviderKind)} />
      <Autocomplete
        name="model"
        label="Model"
        description={it ? aboutModel(it) : models.length > 0 ? "As the vendor names it; of those listed, price and context are known." : "As the endpoint names it."}
        placeholder={models[0]?.id ?? "qwen3-32b"}
        data={[...new Set(models.map((m) => m.id))]}
        limit={50}
        value={model}
        onChange={setModel}
        required
        spellCheck={false}
        autoCapitalize="none"
      />
      <NativeSelect
        name="effort"
        label="Reasoning"
        description="A model that cannot reason refuses all but the first."
        defaultValue={provider?.effort ?? ""}
        data={[
          { value: "", label: "As the vendor sets it" },
          { value: "low", label: "Low" },
          { value: "medium", label: "Medium" },
          { value: "high", label: "High" },
        ]}
      />
      <TextInput
        key={kind}
        className={full}
        name="base_url"
        type="url"
        label="Base URL"
        description={base ? "Leave it empty for the vendor's own." : "Where the protocol begins; /chat/completions is added."}
        placeholder={base || "https://llm.example.com/v1"}
        defaultValue={provider && provider.kind === kind && provider.base_url !== base ? provider.base_url : ""}
        required={!base}
      />
      <PasswordInput
        name="key"
        label="Key"
        description={provider?.credential ? "Only to replace the one that is there." : "Sealed at once to the proxy, and never shown again."}
        autoComplete="off"
      />
      <NativeSelect
        name="credential"
        label="Or a key that is there"
        description="Its targets must name this provider."
        value={credential}
        onChange={(e) => setCredential(e.currentTarget.value)}
        data={[{ value: "", label: "None" }, ...[...llm].map((name) => ({ value: name, label: name }))]}
      />
      <NativeSelect
        name="fallback"
        label="Fallback"
        description="Who is asked when this one is overloaded, limits or does not answer."
        value={fallback}
        onChange={(e) => setFallback(e.currentTarget.value)}
        data={[{ value: "", label: "None" }, ...others.filter((o) => o.id !== provider?.id).map((o) => ({ value: o.name, label: `${o.name} (${o.model})` }))]}
      />
      <NumberInput
        name="patience"
        label="Patience"
        description="Seconds to go on trying before that."
        min={1}
        max={3600}
        placeholder="60"
        defaultValue={provider?.patience || ""}
        disabled={!fallback}
      />
      <Switch
        className={full}
        name="fallback_on_account"
        label="Also when the key is refused or the account used up"
        description="Otherwise the run fails, so that somebody looks."
        defaultChecked={provider?.fallback_on_account}
        disabled={!fallback}
      />
      <NumberInput
        name="wait"
        label="Wait"
        description="Minutes that a run waits when nobody can be asked, before it fails."
        min={0}
        max={1440}
        placeholder="0"
        defaultValue={provider?.wait || ""}
      />
      <NumberInput
        name="window"
        label="Context"
        description="Tokens of a conversation, where the list is wrong or silent."
        min={0}
        thousandSeparator=" "
        placeholder={it?.window ? String(it.window) : ""}
        defaultValue={provider?.window || ""}
      />
      <NumberInput
        name="price_input"
        label="Your price, read"
        description="US dollars for a million tokens."
        min={0}
        step={0.1}
        placeholder={it ? String(it.price.input) : ""}
        defaultValue={provider?.price_input ?? ""}
      />
      <NumberInput
        name="price_output"
        label="Your price, written"
        description="Both prices or none."
        min={0}
        step={0.1}
        placeholder={it ? String(it.price.output) : ""}
        defaultValue={provider?.price_output ?? ""}
      />
      {!provider?.default && <Switch className={full} name="default" label="Default" description="Investigations use this provider where nothing else is said." />}
      <Switch
        className={full}
        name="allow_private"
        label="Allow private addresses"
        description="For a model in your own network. Metadata addresses stay closed."
        defaultChecked={provider?.allow_private}
      />
    </>
  );
}

function Change({ provider, others, close }: { provider: Provider; others: Provider[]; close: () => void }) {
  const change = useSave((form: FormData) => providers.change(provider.id, settingsOf(form)), "providers", close);
  return (
    <Form className={css.form} submit={(form) => change.mutate(form)} label={`Change ${inert(provider.name)}`}>
      <h2>Change {inert(provider.name)}</h2>
      <div className={css.fields}>
        <Fields provider={provider} others={others} may />
      </div>
      <Ends of={change} close={close} className={css.buttons} />
    </Form>
  );
}

function Panel({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className={css.form} aria-label={title}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

function Test({ provider, close }: { provider: Provider; close: () => void }) {
  const test = useMutation({ mutationFn: () => providers.test(provider.id) });
  const t = test.data;
  return (
    <Panel title={`Test ${inert(provider.name)}`}>
      <p className={own.said}>The model gets one small turn, the way that investigations go: through the proxy, with the key that is sealed there. It costs a few tokens.</p>
      <div role="status" className={own.said}>
        {t && (
          <>
            <p>
              <Chip tone={t.ok ? "good" : "critical"}>{t.ok ? "Works" : "Fails"}</Chip> {inert(outcome(t))}
            </p>
            {t.ok && !t.tools && <Sub bad>It did not call the tool that it was asked to call. A model that does not call tools cannot investigate.</Sub>}
            {t.ok && t.text && <Sub>It said: {inert(t.text)}</Sub>}
          </>
        )}
        {test.error && <Problem what="The test was not made." error={test.error} />}
      </div>
      <div className={css.buttons}>
        <Button onClick={() => test.mutate()} loading={test.isPending}>
          {t ? "Test again" : "Test"}
        </Button>
        <Button variant="default" onClick={close}>
          Close
        </Button>
      </div>
    </Panel>
  );
}

function Remove({ provider, close }: { provider: Provider; close: () => void }) {
  const remove = useSave(() => providers.remove(provider.id), "providers", close);
  return (
    <Panel title={`Remove ${inert(provider.name)}`}>
      <p className={own.said}>Runs under way lose it as soon as they ask it again. Its key stays among the credentials.</p>
      {remove.error && <Problem what="It was not removed." error={remove.error} />}
      <div className={css.buttons}>
        <Button color="red" variant="outline" onClick={() => remove.mutate()} loading={remove.isPending}>
          Remove
        </Button>
        <Button variant="default" onClick={close}>
          Keep it
        </Button>
      </div>
    </Panel>
  );
}
