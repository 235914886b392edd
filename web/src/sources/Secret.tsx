import { Button, PasswordInput, Switch } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { sources } from "../api/calls";
import type { Body, Source } from "../api/types";
import { text } from "../settings/settings";
import { isTime } from "../text/time";
import { useSave } from "../ui/form";
import { Left, Problem, Snippet } from "../ui/parts";
import css from "./sources.module.css";

/** Says whether the sender makes the secret itself: PagerDuty does, after it was told the address. */
export function theirs(source: Pick<Source, "kind" | "auth">): boolean {
  return source.kind === "pagerduty" && source.auth === "signature";
}

/** Gives a source another secret: one that is made here and shown once, or one that the sender has made. */
export function Secret({ source, onMade, made }: { source: Source; onMade: (secret: string | undefined) => void; made: string | undefined }) {
  const client = useQueryClient();
  const [atOnce, setAtOnce] = useState(false);
  const replace = useMutation({
    mutationFn: (body: Body<"NewSecretBody">) => sources.replaceSecret(source.id, body),
    onSuccess: (now) => {
      onMade(now.secret);
      void client.invalidateQueries({ queryKey: ["sources"] });
    },
  });
  const given = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    replace.mutate({ secret: text(new FormData(event.currentTarget), "secret"), revoke_old: atOnce });
    event.currentTarget.reset();
  };
  return (
    <>
      {isTime(source.old_secret_until) && (
        <p role="status">
          The secret before this one still counts, for <Left until={source.old_secret_until} /> more.
        </p>
      )}
      <Switch
        checked={atOnce}
        onChange={(e) => setAtOnce(e.currentTarget.checked)}
        label="Refuse the old secret at once"
        description="For a secret that somebody else knows. Otherwise the old one counts for another day: time to tell the sender."
      />
      {!theirs(source) && (
        <div>
          <Button variant="default" className={atOnce ? css.danger : undefined} loading={replace.isPending} onClick={() => replace.mutate({ revoke_old: atOnce })}>
            Make a new secret
          </Button>
        </div>
      )}
      {made && (
        <div className={css.result} role="status">
          <p className={css.once}>The secret is shown only now. It cannot be read again, only replaced. The sender&rsquo;s configuration above has it in place.</p>
          <Snippet text={made} label="the secret" wrap />
          <div>
            <Button variant="default" size="compact-sm" onClick={() => onMade(undefined)}>
              I have saved it
            </Button>
          </div>
        </div>
      )}
      <details open={theirs(source)}>
        <summary>{theirs(source) ? "The secret that PagerDuty signs with (delivery_method.secret in its answer)" : "Or give it one of your own"}</summary>
        <GivenSecret submit={given} pending={replace.isPending} />
      </details>
      {replace.error && <Problem what="The secret was not saved." error={replace.error} kept="The one before still counts." />}
      {replace.isSuccess && !replace.data.secret && <p role="status">Saved. It counts from now on.</p>}
    </>
  );
}

function GivenSecret({ submit, pending }: { submit: (e: FormEvent<HTMLFormElement>) => void; pending: boolean }) {
  return (
    <form onSubmit={submit} autoComplete="off" className={css.inline}>
      <PasswordInput name="secret" label="Secret" required minLength={8} maxLength={256} autoComplete="off" />
      <Button type="submit" variant="default" loading={pending}>
        Save the secret
      </Button>
    </form>
  );
}

/** Takes the secret that the sender has made. Until then the source refuses everything. */
export function TheirSecret({ source }: { source: Source }) {
  const save = useSave((secret: string) => sources.replaceSecret(source.id, { secret, revoke_old: true }), "sources");
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    save.mutate(text(new FormData(event.currentTarget), "secret"));
    event.currentTarget.reset();
  };
  return (
    <div>
      <h3>The answer has the secret that PagerDuty signs with (delivery_method.secret)</h3>
      <GivenSecret submit={submit} pending={save.isPending} />
      {save.error && <Problem what="The secret was not saved." error={save.error} />}
      {save.isSuccess && <p role="status">Saved. Deliveries are taken from now on.</p>}
    </div>
  );
}
