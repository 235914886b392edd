import { TextInput } from "@mantine/core";
import { auth } from "../api/calls";
import { ByLink } from "./ByLink";

/** The first admin, by the one-time link of the server's log: /setup#token=… */
export function SetupPage() {
  return (
    <ByLink
      title="Set up Akmatori"
      lead="Make the first account. The link works once."
      needs="This page needs the one-time link that the server printed in its log when it first started."
      join={(token, password, form) => auth.setup({ token, username: String(form.get("username")).trim(), password })}
      to="/wizard"
      save="Make the account"
      failed="The account was not made."
      used="If the link was used before, sign in instead."
    >
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
    </ByLink>
  );
}
