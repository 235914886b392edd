import { Button, PasswordInput, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent } from "react";
import { sources } from "../api/calls";
import type { Body, Source } from "../api/types";
import { optional } from "../settings/settings";
import { inert } from "../text/visible";
import { Ago, Problem } from "../ui/parts";
import { Fact } from "./Health";
import { showSpan } from "./options";
import css from "./sources.module.css";
import { counted } from "./state";

/** Kinds of source that can be asked for their open alerts. */
export function canBeAsked(kind: string): boolean {
  return kind === "alertmanager" || kind === "zabbix";
}

/** Asking the sender what is open there: finds what was missed, and what has ended meanwhile. */
export function Reconcile({ source, may }: { source: Source; may: boolean }) {
  const client = useQueryClient();
  const health = useQuery({ queryKey: ["sources", source.id, "health"], queryFn: ({ signal }) => sources.health(source.id, { signal }) });
  const before = health.data?.reconciliation;
  const ask = useMutation({
    mutationFn: async () => {
      const was = before ?? (await sources.health(source.id, {})).reconciliation;
      const now = await sources.reconcile(source.id);
      return { missed: now.missed - was.missed, resolved: now.resolved - was.resolved, waiting: now.waiting };
    },
    onSettled: () => client.invalidateQueries({ queryKey: ["sources", source.id] }),
  });
  const r = source.options.reconcile;
  const where = r?.url || r?.target;
  return (
    <>
      {where ? (
        <p className={css.help}>
          {r?.url ? <code>{inert(r.url)}</code> : <>Target {inert(r?.target)}</>} is asked{" "}
          {r?.every_seconds ? <>every {showSpan(r.every_seconds)}</> : "only when you say so: how often is in the settings"}.
        </p>
      ) : (
        <p className={css.help}>
          What a sender could not deliver while Akmatori was away is lost, unless it is asked.{" "}
          {source.kind === "zabbix" ? "Name its target of kind zabbix" : "Give its address"} in the settings below to have it asked from time to time.
        </p>
      )}
      {before && (before.started_at || before.ended_at) && (
        <dl className={css.facts}>
          <Fact name="Last asked">
            <Ago at={before.started_at} suffix=" ago" />
          </Fact>
          <Fact name="Last whole answer">
            <Ago at={before.ok_at} suffix=" ago" />
          </Fact>
          <Fact name="Found that were missed">{before.missed.toLocaleString()}</Fact>
          <Fact name="Found to have ended">{before.resolved.toLocaleString()}</Fact>
          <Fact name="May still arrive">{before.waiting.toLocaleString()}</Fact>
        </dl>
      )}
      {before?.error && <p className={css.bad}>The last time: {inert(before.error)}</p>}
      {may && where && (
        <div>
          <Button variant="default" loading={ask.isPending} disabled={!source.enabled} onClick={() => ask.mutate()}>
            Ask now
          </Button>
        </div>
      )}
      {ask.data && <p role="status">{outcome(ask.data)}</p>}
      {ask.error && <Problem what="It could not be asked." error={ask.error} kept="No alert was changed that was not compared." />}
      {may && r?.url && source.kind === "alertmanager" && <Proof source={source} has={before?.has_secret ?? false} />}
    </>
  );
}

/** What asking has come to, in a sentence. */
export function outcome(found: { missed: number; resolved: number; waiting: number }): string {
  const parts: string[] = [];
  if (found.missed > 0) parts.push(`${counted(found.missed, "alert was", "alerts were")} missed and taken in`);
  if (found.resolved > 0) parts.push(`${counted(found.resolved, "alert has", "alerts have")} ended meanwhile`);
  const said = parts.length > 0 ? `Asked: ${parts.join(", ")}.` : "Asked: everything that is open there is known here.";
  return found.waiting > 0 ? `${said} ${counted(found.waiting, "difference", "differences")} may still be settled by a delivery on its way.` : said;
}

/** How we prove ourselves to an Alertmanager that wants it. */
function Proof({ source, has }: { source: Source; has: boolean }) {
  const client = useQueryClient();
  const save = useMutation({
    mutationFn: (body: Body<"NewReconcileSecretBody">) => sources.setReconcileSecret(source.id, body),
    onSuccess: () => client.invalidateQueries({ queryKey: ["sources", source.id] }),
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    save.mutate({ token: optional(form, "token"), username: optional(form, "username"), password: optional(form, "password") });
    event.currentTarget.reset();
  };
  return (
    <details>
      <summary>{has ? "It is shown a secret: replace or remove it" : "It wants a secret"}</summary>
      <form onSubmit={submit} autoComplete="off" className={css.form}>
        <p className={css.help}>A bearer token, or a user name with a password. It is kept sealed for this address alone, and cannot be read again.</p>
        <div className={css.fields}>
          <PasswordInput name="token" label="Token" maxLength={4096} autoComplete="off" />
          <TextInput name="username" label="User name" maxLength={256} autoCapitalize="none" spellCheck={false} autoComplete="off" />
          <PasswordInput name="password" label="Password" maxLength={4096} autoComplete="off" />
        </div>
        <div className={css.inline}>
          <Button type="submit" variant="default" loading={save.isPending}>
            Save it
          </Button>
          {has && (
            <Button variant="default" loading={save.isPending} onClick={() => save.mutate({})}>
              Remove the secret
            </Button>
          )}
        </div>
        {save.error && <Problem what="The secret was not saved." error={save.error} />}
        {save.isSuccess && <p role="status">{save.data.has_secret ? "Saved." : "There is none now."}</p>}
      </form>
    </details>
  );
}
