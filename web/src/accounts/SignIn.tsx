import { Button, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { oidc, totp } from "../api/calls";
import type { Account } from "../api/types";
import { text } from "../settings/settings";
import { inert } from "../text/visible";
import { Problem } from "../ui/parts";
import css from "./accounts.module.css";
import { useUser } from "./may";

/** How somebody signs in, in a few words. */
export function howSignsIn(u: Pick<Account, "password" | "oidc_subject">): string {
  if (u.oidc_subject) return u.password ? "signs in with the provider or a password" : "signs in with the provider";
  return u.password ? "signs in with a password" : "cannot sign in yet";
}

/** What who manages accounts can do about how a user signs in. */
export function SignIn({ user: u, refresh }: { user: Account; refresh: () => unknown }) {
  const me = useUser();
  const [sure, setSure] = useState(false);
  const link = useMutation({ mutationFn: (subject: string) => oidc.link(u.id, subject), onSuccess: refresh });
  const unlink = useMutation({ mutationFn: () => oidc.unlink(u.id), onSuccess: refresh });
  const reset = useMutation({
    mutationFn: () => totp.reset(u.id),
    onSuccess: refresh,
    onSettled: () => setSure(false),
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    link.mutate(text(new FormData(event.currentTarget), "subject"));
  };
  const error = link.error ?? unlink.error ?? reset.error;
  return (
    <>
      {u.oidc_subject ? (
        <div className={css.buttons}>
          <p>
            At the provider they are <span className="mono">{inert(u.oidc_subject)}</span>.
          </p>
          <Button variant="default" size="compact-sm" loading={unlink.isPending} onClick={() => unlink.mutate()}>
            Unlink
          </Button>
        </div>
      ) : (
        <form className={css.link} onSubmit={submit} aria-label={`Link ${inert(u.username)}`}>
          <TextInput className={css.short} name="subject" label="Who they are to the provider" description="Its “sub”: the audit log has it of each sign-in that was refused." required maxLength={255} spellCheck={false} autoComplete="off" />
          <Button type="submit" variant="default" loading={link.isPending}>
            Link
          </Button>
        </form>
      )}
      {u.second_factor && u.id !== me.id && (
        <div className={css.buttons}>
          <p>They have a second factor.</p>
          <Button
            variant={sure ? "filled" : "default"}
            color={sure ? "red" : undefined}
            size="compact-sm"
            loading={reset.isPending}
            onClick={() => (sure ? reset.mutate() : setSure(true))}
            onBlur={() => setSure(false)}
          >
            {sure ? "Really reset it" : "Reset it: they have lost their app"}
          </Button>
        </div>
      )}
      {error && <Problem what="That was not done." error={error} />}
    </>
  );
}
