import { Button, PasswordInput, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { type FormEvent, type ReactNode, useState } from "react";
import { auth } from "../api/calls";
import { ApiError } from "../api/client";
import type { User } from "../api/types";
import { Logo } from "../ui/icons";
import { Problem, useTitle } from "../ui/parts";
import { ThemeSwitch } from "../ui/Shell";
import css from "./auth.module.css";

/** What surrounds a page of somebody who is not signed in. */
export function Frame({ title, lead, children }: { title: string; lead?: ReactNode; children: ReactNode }) {
  useTitle(title);
  return (
    <main className={css.page}>
      <div className={css.box}>
        <div className={css.brand}>
          <Logo size={32} />
          <h1>{title}</h1>
        </div>
        <div className={css.card}>
          {lead && <p>{lead}</p>}
          {children}
        </div>
        <div className={css.foot}>
          <ThemeSwitch />
        </div>
      </div>
    </main>
  );
}

export function useSignedIn(): (answer: { user: User }, to: string) => void {
  const client = useQueryClient();
  const navigate = useNavigate();
  return (answer, to) => {
    client.clear();
    client.setQueryData(["session"], answer);
    void navigate({ to, replace: true });
  };
}

/** Only a path of this page is a place to go back to. */
function safePath(next: string | undefined): string {
  return next && /^\/(?![/\\])/.test(next) ? next : "/incidents";
}

export function LoginPage() {
  const { next } = getRouteApi("/login").useSearch();
  const signedIn = useSignedIn();
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setError(null);
    try {
      const answer = await auth.login({ username: String(form.get("username")), password: String(form.get("password")) });
      signedIn(answer, safePath(next));
    } catch (cause) {
      setError(cause);
      setBusy(false);
    }
  };

  return (
    <Frame title="Sign in to Akmatori">
      <form className={css.form} onSubmit={(e) => void submit(e)}>
        <TextInput name="username" label="User name" autoComplete="username" autoCapitalize="none" spellCheck={false} required autoFocus size="md" />
        <PasswordInput name="password" label="Password" autoComplete="current-password" required size="md" />
        {error !== null && <Problem what="Not signed in." error={error} />}
        <Button type="submit" size="md" loading={busy}>
          Sign in
        </Button>
      </form>
    </Frame>
  );
}

/** Of a password. */
export const shortest = 10;

/** The first admin, by the one-time link of the server's log: /setup#token=… */
export function SetupPage() {
  const signedIn = useSignedIn();
  // The token stands behind the #, where no server and no proxy log sees it.
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get("token") ?? "");
  const [error, setError] = useState<unknown>(null);
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setError(null);
    try {
      const answer = await auth.setup({ token, username: String(form.get("username")).trim(), password });
      history.replaceState(null, "", location.pathname);
      signedIn(answer, "/sources");
    } catch (cause) {
      setError(cause);
      setBusy(false);
    }
  };

  if (token === "") {
    return (
      <Frame title="Set up Akmatori">
        <p>
          This page needs the one-time link that the server printed in its log when it first started. Open that link
          as it is, with the part after the #.
        </p>
      </Frame>
    );
  }
  const used = error instanceof ApiError && (error.status === 401 || error.status === 404 || error.status === 409);
  return (
    <Frame title="Set up Akmatori" lead="Make the first account. The link works once.">
      <form className={css.form} onSubmit={(e) => void submit(e)}>
        <TextInput
          name="username"
          label="User name"
          description="Letters, digits and . _ @ -"
          pattern="[A-Za-z0-9][A-Za-z0-9._@\-]*"
          maxLength={64}
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          required
          autoFocus
          size="md"
        />
        <PasswordInput
          name="password"
          label="Password"
          description={`At least ${shortest} characters. A few words are good.`}
          autoComplete="new-password"
          required
          minLength={shortest}
          size="md"
          value={password}
          onChange={(e) => setPassword(e.currentTarget.value)}
        />
        {error !== null && (
          <Problem what="The account was not made." error={error} kept={used ? "If the link was used before, sign in instead." : undefined} />
        )}
        <Button type="submit" size="md" loading={busy} disabled={password.length < shortest}>
          Make the account
        </Button>
      </form>
    </Frame>
  );
}
