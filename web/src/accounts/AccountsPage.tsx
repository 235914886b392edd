import { Page } from "../ui/parts";
import { Actors } from "./Actors";
import { Provider } from "./Provider";
import { Roles } from "./Roles";
import { Users } from "./Users";

/** Who may come in, and what they may do. */
export function AccountsPage() {
  return (
    <Page
      title="Users and roles"
      lead="A user has the powers of all their roles together. Changes count from their next request on. Everything here is in the audit log."
    >
      <Users />
      <Provider />
      <Roles />
      <Actors />
    </Page>
  );
}
