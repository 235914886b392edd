import { Button, PasswordInput, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { type FormEvent, type ReactNode, useState } from "react";
import { auth } from "../api/calls";
import { ApiError } from "../api/client";
import type { User } from "../api/types";
import { inert } from "../text/visible";
import { Logo } from "../ui/icons";
import { Problem, useTitle } from "../ui/parts";
import { ThemeSwitch } from "../ui/Shell";
import css from "./auth.module.css";
import { problemWords, safePath } from "./problems";

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

/** Goes on after a sign-in: to where one wanted to be, or to the code that is still due. */
export function useSignedIn(): (answer: { user?: User; code_due?: boolean }, to: string) => void {
  const client = useQueryClient();
  const navigate = useNavigate();
  return ({ user, code_due }, to) => {
    client.clear();
    if (code_due || !user) {
      void navigate({ to: "/login", search: { code: "due", next: to }, replace: true });
      return;
    }
    void navigate({ to, replace: true });
  };
}

export function LoginPage() {
  const { next, code } = getRouteApi("/login").useSearch();
  return code === "due" ? <CodeForm to={safePath(next)} /> : <PasswordForm to={safePath(next)} />;
}

function PasswordForm({ to }: { to: string }) {
  const { problem } = getRouteApi("/login").useSearch();
  const signedIn = useSignedIn();
  const methods = useQuery({ queryKey: ["sign-in methods"], queryFn: auth.methods, staleTime: 60_000, retry: false });
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const provider = methods.data?.provider;
  const admins = methods.data?.passwords === "admins";

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setError(null);
    try {
      const answer = await auth.login({ username: String(form.get("username")), password: String(form.get("password")) });
      signedIn(answer, to);
    } catch (cause) {
      setError(cause);
    }
    setBusy(false);
  };

  return (
    <Frame title="Sign in to Akmatori">
      {problem && error === null && <Problem what="Not signed in." error={new ApiError(403, problemWords(problem, provider), [])} />}
      {provider && (
        <>
          <Button component="a" href={auth.providerURL(to)} size="md" fullWidth>
            Sign in with {inert(provider)}
          </Button>
          <p className={css.or}>{admins ? "Only who manages accounts signs in with a password:" : "or with a password"}</p>
        </>
      )}
      <form className={css.form} onSubmit={(e) => void submit(e)}>
        <TextInput name="username" label="User name" autoComplete="username" autoCapitalize="none" spellCheck={false} required autoFocus={!provider} size="md" />
        <PasswordInput name="password" label="Password" autoComplete="current-password" required size="md" />
        {error !== null && <Problem what="Not signed in." error={error} />}
        <Button type="submit" size="md" loading={busy} variant={provider ? "default" : "filled"}>
          Sign in
        </Button>
      </form>
    </Frame>
  );
}

/** The second step of somebody with a second factor. */
function CodeForm({ to }: { to: string }) {
  const signedIn = useSignedIn();
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [lost, setLost] = useState(false);
  const over = error instanceof ApiError && error.status === 401;

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    setBusy(true);
    setError(null);
    try {
      signedIn(await auth.second(String(new FormData(form).get("code"))), to);
    } catch (cause) {
      setError(cause);
      form.reset();
    }
    setBusy(false);
  };

  return (
    <Frame title="Your code" lead={lost ? "Give one of the recovery codes that you have kept. It counts once." : "Open your authenticator app and give the code for Akmatori."}>
      <form className={css.form} onSubmit={(e) => void submit(e)}>
        <TextInput
          key={String(lost)}
          name="code"
          label={lost ? "Recovery code" : "Six digits"}
          autoComplete="one-time-code"
          inputMode={lost ? "text" : "numeric"}
          autoCapitalize="none"
          spellCheck={false}
          maxLength={64}
          required
          autoFocus
          size="md"
        />
        {error !== null && <Problem what="Not signed in." error={error} />}
        {over ? (
          <Button component="a" href="/login" size="md">
            Begin again
          </Button>
        ) : (
          <Button type="submit" size="md" loading={busy}>
            Sign in
          </Button>
        )}
        <Button variant="subtle" size="compact-sm" onClick={() => setLost(!lost)}>
          {lost ? "I have my app" : "I have lost my app"}
        </Button>
      </form>
    </Frame>
  );
}
