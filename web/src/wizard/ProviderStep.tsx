import { Autocomplete, Button, NativeSelect, PasswordInput, Switch, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { providers } from "../api/calls";
import type { ProviderKind, Setup } from "../api/types";
import { aboutModel, kinds, outcome } from "../settings/providers";
import { nameField, optional, text } from "../settings/settings";
import { inert } from "../text/visible";
import { Form } from "../ui/form";
import { Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./wizard.module.css";

/** A model, and a test of it. */
export function ProviderStep({ state }: { state: Setup }) {
  const { id, name, state: how } = state.provider;
  if (!id) return <NewProvider />;
  return (
    <div className={css.part}>
      <p>
        <strong>{inert(name)}</strong> {how === "done" ? <span className={css.good}>answers.</span> : "is there. Have one small turn of it, to see that the key and the model are right."}
      </p>
      <TestProvider id={id} done={how === "done"} />
      <p className={css.dim}>
        Another key, another model, a fallback, prices: <Link to="/providers">LLM providers</Link>.
      </p>
    </div>
  );
}

function TestProvider({ id, done }: { id: string; done: boolean }) {
  const client = useQueryClient();
  const test = useMutation({ mutationFn: () => providers.test(id), onSettled: () => void client.invalidateQueries({ queryKey: ["setup-state"] }) });
  const t = test.data;
  return (
    <>
      <div role="status">
        {t && (
          <p>
            <Chip tone={t.ok ? "good" : "critical"}>{t.ok ? "Works" : "Fails"}</Chip> {inert(outcome(t))}
            {t.ok && !t.tools && " It did not call the tool that it was asked to call: a model that does not call tools cannot investigate."}
          </p>
        )}
      </div>
      {test.error && <Problem what="The model could not be tested." error={test.error} />}
      <div>
        <Button variant={done ? "default" : "filled"} loading={test.isPending} onClick={() => test.mutate()}>
          {done ? "Test it again" : "Test the model"}
        </Button>
      </div>
    </>
  );
}

function NewProvider() {
  const client = useQueryClient();
  const [kind, setKind] = useState<ProviderKind>("openai");
  const [model, setModel] = useState("");
  const known = useQuery({ queryKey: ["provider-kind", kind], queryFn: (o) => providers.kind(kind, o), staleTime: Infinity });
  const models = known.data?.models ?? [];
  const it = models.find((m) => m.id === model.trim());
  const base = kinds.find((k) => k.value === kind)?.base ?? "";
  const create = useMutation({
    mutationFn: providers.create,
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ["providers"] });
      return client.invalidateQueries({ queryKey: ["setup-state"] });
    },
  });
  const submit = (form: FormData) => {
    create.mutate({
      name: text(form, "name"),
      kind,
      model: text(form, "model"),
      base_url: optional(form, "base_url"),
      key: optional(form, "key"),
      allow_private: form.get("allow_private") !== null,
      default: true,
    });
  };
  return (
    <Form className={css.part} submit={submit} label="New model">
      <div className={css.fields}>
        <NativeSelect label="Vendor" data={kinds} value={kind} onChange={(e) => setKind(e.currentTarget.value as ProviderKind)} />
        <Autocomplete
          name="model"
          label="Model"
          description={it ? aboutModel(it) : "As the vendor or endpoint names it."}
          placeholder={models[0]?.id ?? "qwen3-32b"}
          data={[...new Set(models.map((m) => m.id))]}
          limit={50}
          value={model}
          onChange={setModel}
          required
          spellCheck={false}
          autoCapitalize="none"
        />
        <TextInput {...nameField} autoFocus={false} defaultValue="main" description="What rules and agents call it." />
        <PasswordInput name="key" label="Key" description="Sealed at once to the proxy, and never shown again." autoComplete="off" />
        <TextInput
          key={kind}
          className={css.full}
          name="base_url"
          type="url"
          label="Base URL"
          description={base ? "Leave it empty for the vendor's own." : "Where the protocol begins; /chat/completions is added."}
          placeholder={base || "https://llm.example.com/v1"}
          required={!base}
        />
        <Switch className={css.full} name="allow_private" label="Allow private addresses" description="For a model in your own network. Metadata addresses stay closed." />
      </div>
      {create.error && <Problem what="Nothing was saved." error={create.error} />}
      <div>
        <Button type="submit" loading={create.isPending}>
          Save the model
        </Button>
      </div>
    </Form>
  );
}
