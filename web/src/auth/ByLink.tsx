import { Button, PasswordInput } from "@mantine/core";
import { type FormEvent, type ReactNode, useState } from "react";
import { ApiError } from "../api/client";
import type { User } from "../api/types";
import { Problem } from "../ui/parts";
import css from "./auth.module.css";
import { Frame, useSignedIn } from "./pages";

/** Of a password. */
export const shortest = 10;

interface Props {
  title: string;
  lead: string;
  /** Said to whoever comes without the link. */
  needs: string;
  /** Does it, with what else the form has, and signs in. */
  join: (token: string, password: string, form: FormData) => Promise<{ user?: User; code_due?: boolean }>;
  /** Where to go then. */
  to: string;
  save: string;
  /** Said when it fails, and when the link may have been used. */
  failed: string;
  used: string;
  /** Fields above the password; one of them has the focus. */
  children?: ReactNode;
}

/** A link that works once, as /page#token=…, lets somebody set a password. */
export function ByLink({ title, lead, needs, join, to, save, failed, used, children }: Props) {
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
      const answer = await join(token, password, form);
      history.replaceState(null, "", location.pathname);
      signedIn(answer, to);
    } catch (cause) {
      setError(cause);
      setBusy(false);
    }
  };

  if (token === "") {
    return (
      <Frame title={title}>
        <p>{needs} Open that link as it is, with the part after the #.</p>
      </Frame>
    );
  }
  return (
    <Frame title={title} lead={lead}>
      <form className={css.form} onSubmit={(e) => void submit(e)}>
        {children}
        <PasswordInput
          name="password"
          label="Password"
          description={`At least ${shortest} characters. A few words are good.`}
          autoComplete="new-password"
          required
          autoFocus={!children}
          minLength={shortest}
          size="md"
          value={password}
          onChange={(e) => setPassword(e.currentTarget.value)}
        />
        {error !== null && <Problem what={failed} error={error} kept={error instanceof ApiError && [401, 404, 409].includes(error.status) ? used : undefined} />}
        <Button type="submit" size="md" loading={busy} disabled={password.length < shortest}>
          {save}
        </Button>
      </form>
    </Frame>
  );
}
