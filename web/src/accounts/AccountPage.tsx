import { Button, PasswordInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useRef } from "react";
import { users } from "../api/calls";
import { shortest } from "../auth/ByLink";
import { NotifySettings } from "../notify/NotifySettings";
import { inert } from "../text/visible";
import { Card, Page, Problem } from "../ui/parts";
import css from "./accounts.module.css";
import { SecondFactor } from "./SecondFactor";
import { OwnSessions } from "./Sessions";
import { ordered, type Permission, permissions, useUser } from "./may";

/** Who one is, what one may do, and one's password. */
export function AccountPage() {
  const user = useUser();
  const client = useQueryClient();
  const form = useRef<HTMLFormElement>(null);
  const change = useMutation({ mutationFn: users.changePassword, onSuccess: () => {
      form.current?.reset();
      void client.invalidateQueries({ queryKey: ["sessions"] });
    } });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const data = new FormData(event.currentTarget);
    change.mutate({ current: String(data.get("current")), new: String(data.get("new")) });
  };
  return (
    <Page title="Your account" lead={`You are ${inert(user.username)}, with ${user.roles.length === 1 ? "the role" : "the roles"} ${user.roles.map(inert).join(", ") || "none"}.`}>
      <Card label="What you may do">
        <div className={css.section}>
          <h2>What you may do</h2>
          {user.actions.length === 0 ? (
            <p className="dim">Nothing yet. Somebody who manages accounts has to give you a role.</p>
          ) : (
            <ul className={css.can}>
              {ordered(user.actions).map((a) => (
                <li key={a}>
                  {permissions[a as Permission] ?? inert(a)} <code className="faint">{inert(a)}</code>
                </li>
              ))}
            </ul>
          )}
        </div>
      </Card>
      <NotifySettings />
      <SecondFactor />
      <OwnSessions />
      <Card label="Change your password">
        <form ref={form} className={css.section} onSubmit={submit} aria-label="Change your password">
          <h2>Change your password</h2>
          <p className="dim">All other sessions of yours end. API tokens go on.</p>
          <input className="sr-only" type="text" name="username" autoComplete="username" value={user.username} readOnly tabIndex={-1} aria-hidden="true" />
          <div className={css.passwords}>
            <PasswordInput name="current" label="Current password" autoComplete="current-password" required maxLength={1024} />
            <PasswordInput name="new" label="New password" description={`At least ${shortest} characters.`} autoComplete="new-password" required minLength={shortest} maxLength={1024} />
          </div>
          {change.error && <Problem what="The password was not changed." error={change.error} />}
          {change.isSuccess && <p role="status">Your password is changed.</p>}
          <div>
            <Button type="submit" loading={change.isPending}>
              Change it
            </Button>
          </div>
        </form>
      </Card>
    </Page>
  );
}
