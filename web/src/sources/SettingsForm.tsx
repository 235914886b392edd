import { Button, NativeSelect, Switch, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";
import { sources, targets } from "../api/calls";
import { ApiError } from "../api/client";
import type { Severity, Source } from "../api/types";
import { nameField, text } from "../settings/settings";
import { readSettings } from "../settings/sources";
import { inert } from "../text/visible";
import { CloseIcon, PlusIcon } from "../ui/icons";
import { Problem } from "../ui/parts";
import { fieldErrorOf, type FieldErrors, type FieldName, formOf, readOptions, severities, showRate, showSpan, timeFields } from "./options";
import { Preview } from "./Preview";
import { canBeAsked } from "./Reconcile";
import css from "./sources.module.css";

/** How a source is judged and read. What is shown is in force; what is typed is so only when it is saved. */
export function SettingsForm({ source }: { source: Source }) {
  const [edition, setEdition] = useState(0);
  const [base, setBase] = useState(source);
  const [saved, setSaved] = useState(false);
  const show = (now: Source, said: boolean) => {
    setBase(now);
    setSaved(said);
    setEdition(edition + 1);
  };
  return (
    <>
      {formOf(base) !== formOf(source) && (
        <div className={css.offline} role="status">
          <div>Somebody has changed these settings meanwhile. Saving here would undo that.</div>
          <Button variant="default" size="compact-sm" onClick={() => show(source, false)}>
            Show what is in force
          </Button>
        </div>
      )}
      <Form key={edition} source={base} onSaved={(now) => show(now, true)} />
      {saved && <p role="status">Saved. It holds from the next delivery on.</p>}
    </>
  );
}

interface Row {
  key: number;
  word: string;
  severity: string;
}

function Form({ source, onSaved }: { source: Source; onSaved: (now: Source) => void }) {
  const client = useQueryClient();
  const form = useRef<HTMLFormElement>(null);
  const o = source.options;
  const [rows, setRows] = useState<Row[]>(() => Object.entries(o.severities ?? {}).map(([word, severity], key) => ({ key, word, severity })));
  const [errors, setErrors] = useState<FieldErrors>({});
  const save = useMutation({
    mutationFn: (body: Parameters<typeof sources.change>[1]) => sources.change(source.id, body),
    onSuccess: (now) => {
      client.setQueryData(["sources", source.id], now);
      void client.invalidateQueries({ queryKey: ["sources"] });
      onSaved(now);
    },
    onError: (cause) => {
      const found = cause instanceof ApiError ? fieldErrorOf(cause.message) : {};
      setErrors(found);
      focusFirst(form.current, found);
    },
  });
  const read = (data: FormData) => ({
    ...readOptions((name) => text(data, name), rows, source.kind),
    settings: source.kind === "webhook" ? readSettings(text(data, "settings")) : undefined,
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const data = new FormData(event.currentTarget);
    const typed = read(data);
    const found: FieldErrors = { ...(text(data, "name") === "" && { name: "It needs a name." }), ...typed.errors };
    setErrors(found);
    if (Object.keys(found).length > 0) {
      save.reset();
      focusFirst(event.currentTarget, found);
      return;
    }
    save.mutate({
      name: text(data, "name"),
      enabled: data.has("enabled"),
      options: typed.options,
      ...(source.kind === "webhook" && { settings: typed.settings ?? null }),
    });
  };
  const error = (name: FieldName) => errors[name] && inert(errors[name]);
  const placed = Object.keys(errors).length > 0;

  return (
    <form ref={form} onSubmit={submit} autoComplete="off" noValidate className={css.form} aria-label="Settings">
      <div className={css.fields}>
        <TextInput {...nameField} autoFocus={false} defaultValue={source.name} error={error("name")} />
        <Switch name="enabled" defaultChecked={source.enabled} label="It takes deliveries" description="Off: what it is sent is answered 404 and not kept." className={css.switch} />
      </div>

      <fieldset>
        <legend>Alerts and their incidents</legend>
        <div className={css.fields}>
          {timeFields.map((f) => (
            <TextInput key={f.name} name={f.name} label={f.label} description={`${f.help} Empty: ${f.empty}.`} placeholder={f.empty} defaultValue={showSpan(o[f.name])} error={error(f.name)} spellCheck={false} />
          ))}
        </div>
      </fieldset>

      <fieldset>
        <legend>Storms</legend>
        <div className={css.fields}>
          <TextInput
            name="storm_incidents_per_minute"
            label="A storm is more new incidents in a minute than"
            description="Above this they are collapsed into one incident that holds all alerts. Empty: 30. Or: never."
            placeholder="30"
            defaultValue={showRate(o.storm_incidents_per_minute)}
            error={error("storm_incidents_per_minute")}
          />
          <TextInput
            name="storm_quiet_seconds"
            label="It is over when it was calm for"
            description="New incidents stand alone again when the rate has stayed below for so long. Empty: 5m."
            placeholder="5m"
            defaultValue={showSpan(o.storm_quiet_seconds)}
            error={error("storm_quiet_seconds")}
          />
        </div>
      </fieldset>

      <Severities rows={rows} setRows={setRows} error={error("severities")} />
      {canBeAsked(source.kind) && <Asking source={source} error={error} />}

      {source.kind === "webhook" && (
        <fieldset>
          <legend>Mapping</legend>
          <Textarea
            name="settings"
            label="Where an alert's fields are in the body"
            description="$ is the body, @ one alert; the sender's configuration above has an example. Try it below before you save it."
            placeholder="The usual names"
            defaultValue={source.settings === undefined || source.settings === null ? "" : JSON.stringify(source.settings, null, 2)}
            error={error("settings")}
            autosize
            minRows={4}
            spellCheck={false}
            classNames={{ input: css.code }}
          />
        </fieldset>
      )}

      {save.error && <Problem what="Nothing was saved." error={placed ? new Error("See the marked field.") : save.error} />}
      <div className={css.inline}>
        <Button type="submit" loading={save.isPending}>
          Save the settings
        </Button>
      </div>
      <Preview
        source={source}
        asked={() => {
          const { options, settings } = read(new FormData(form.current ?? undefined));
          return { options, settings };
        }}
      />
    </form>
  );
}

/** What was refused first gets the focus, so that nobody has to look for it. */
function focusFirst(form: HTMLFormElement | null, errors: FieldErrors): void {
  const [name] = Object.keys(errors);
  const field = name === undefined ? null : form?.elements.namedItem(name);
  if (field instanceof HTMLElement) field.focus();
}

function Severities({ rows, setRows, error }: { rows: Row[]; setRows: (rows: Row[]) => void; error: string | undefined }) {
  const change = (key: number, to: Partial<Row>) => setRows(rows.map((r) => (r.key === key ? { ...r, ...to } : r)));
  return (
    <fieldset>
      <legend>Severities</legend>
      <p className={css.help}>What the sender&rsquo;s own words mean here, where they do not mean what they say. No word: alerts without any.</p>
      {rows.map((row) => (
        <div key={row.key} className={css.word}>
          <TextInput aria-label="The sender's word" placeholder="no word" value={row.word} onChange={(e) => change(row.key, { word: e.currentTarget.value })} maxLength={200} autoCapitalize="none" spellCheck={false} />
          <span aria-hidden="true">is</span>
          <NativeSelect aria-label={`Severity of ${row.word || "no word"}`} value={row.severity} onChange={(e) => change(row.key, { severity: e.currentTarget.value })} data={severities.map((value: Severity) => ({ value, label: value }))} />
          <Button variant="subtle" color="gray" aria-label={`Remove ${row.word || "no word"}`} onClick={() => setRows(rows.filter((r) => r.key !== row.key))}>
            <CloseIcon size={14} />
          </Button>
        </div>
      ))}
      {error && (
        <p role="alert" className={css.bad}>
          {error}
        </p>
      )}
      <div>
        <Button
          variant="default"
          size="compact-sm"
          leftSection={<PlusIcon size={13} />}
          onClick={() => setRows([...rows, { key: Math.max(-1, ...rows.map((r) => r.key)) + 1, word: "", severity: "warning" }])}
        >
          Add a word
        </Button>
      </div>
    </fieldset>
  );
}

function Asking({ source, error }: { source: Source; error: (name: FieldName) => string | undefined }) {
  const r = source.options.reconcile;
  const every = (
    <TextInput
      name="reconcile.every_seconds"
      label="Ask every"
      description="Finds what was missed while one of the two was away. Empty: only when you say so."
      placeholder="only when asked to"
      defaultValue={showSpan(r?.every_seconds)}
      error={error("reconcile.every_seconds")}
      spellCheck={false}
    />
  );
  return (
    <fieldset>
      <legend>Asking the sender what is open there</legend>
      <div className={css.fields}>
        {source.kind === "zabbix" ? (
          <ZabbixTarget chosen={r?.target ?? ""} error={error("reconcile.target")} />
        ) : (
          <TextInput
            name="reconcile.url"
            label="Alertmanager's address"
            description="As Akmatori reaches it. Several of one cluster with commas between."
            placeholder="https://alertmanager.example.com"
            defaultValue={r?.url ?? ""}
            error={error("reconcile.url")}
            inputMode="url"
            autoCapitalize="none"
            spellCheck={false}
          />
        )}
        {every}
        {source.kind === "alertmanager" && (
          <TextInput
            name="reconcile.target"
            label="The receiver that sends here"
            description="Its name in alertmanager.yml. Empty if there is one alone, or it has sent already."
            defaultValue={r?.target ?? ""}
            error={error("reconcile.target")}
            autoCapitalize="none"
            spellCheck={false}
          />
        )}
      </div>
    </fieldset>
  );
}

/** Zabbix is asked through the gateway, so the inventory has to know it. */
function ZabbixTarget({ chosen, error }: { chosen: string; error: string | undefined }) {
  const query = useQuery({ queryKey: ["targets"], queryFn: targets.list });
  const names = (query.data ?? []).filter((t) => t.kind === "zabbix").map((t) => t.name);
  if (chosen !== "" && !names.includes(chosen)) names.push(chosen);
  return (
    <NativeSelect
      // The choice is set anew when the names are there.
      key={names.join(" ")}
      name="reconcile.target"
      label="Zabbix's target"
      description={names.length > 0 ? "A target of kind zabbix, from the inventory." : "There is no target of kind zabbix in the inventory yet."}
      defaultValue={chosen}
      error={error}
      data={[{ value: "", label: "Do not ask" }, ...names.map((name) => ({ value: name, label: inert(name) }))]}
    />
  );
}
