import { Button, PasswordInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { users } from "../api/calls";
import { ApiError } from "../api/client";
import { Frame, shortest, useSignedIn } from "../auth/pages";
import css from "../auth/auth.module.css";
import { Problem } from "../ui/parts";

/** An invited user sets their password, by the link /accept#token=… */
export function AcceptPage() {
  const signedIn = useSignedIn();
  // The token stands behind the #, where no server and no proxy log sees it.
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get("token") ?? "");
  const [error, setError] = useState<unknown>(null);
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const answer = await users.accept({ token, password });
      history.replaceState(null, "", location.pathname);
      signedIn(answer, "/");
    } catch (cause) {
      setError(cause);
      setBusy(false);
    }
  };

  if (token === "") {
    return (
      <Frame title="Join Akmatori">
        <p>This page needs the link of your invitation. Open that link as it is, with the part after the #.</p>
      </Frame>
    );
  }
  const used = error instanceof ApiError && error.status === 401;
  return (
    <Frame title="Join Akmatori" lead="Choose your password. The link works once.">
      <form className={css.form} onSubmit={(e) => void submit(e)}>
        <PasswordInput
          name="password"
          label="Password"
          description={`At least ${shortest} characters. A few words are good.`}
          autoComplete="new-password"
          required
          autoFocus
          minLength={shortest}
          size="md"
          value={password}
          onChange={(e) => setPassword(e.currentTarget.value)}
        />
        {error !== null && (
          <Problem
            what="The password was not set."
            error={error}
            kept={used ? "If you have used the link before, sign in. Otherwise ask whoever invited you for a new one." : undefined}
          />
        )}
        <Button type="submit" size="md" loading={busy} disabled={password.length < shortest}>
          Set the password
        </Button>
      </form>
    </Frame>
  );
}
