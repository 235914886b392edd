import { users } from "../api/calls";
import { ByLink } from "../auth/ByLink";

/** An invited user sets their password, by the link /accept#token=… */
export function AcceptPage() {
  return (
    <ByLink
      title="Join Akmatori"
      lead="Choose your password. The link works once."
      needs="This page needs the link of your invitation."
      join={(token, password) => users.accept({ token, password })}
      to="/"
      save="Set the password"
      failed="The password was not set."
      used="If you have used the link before, sign in. Otherwise ask whoever invited you for a new one."
    />
  );
}
