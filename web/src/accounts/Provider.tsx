import { Button, Checkbox, NativeSelect, PasswordInput, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { oidc, roles as roleCalls } from "../api/calls";
import { Remove } from "../grouping/Remove";
import { optional, text } from "../settings/settings";
import { inert } from "../text/visible";
import { Ends, Form } from "../ui/form";
import { PlusIcon } from "../ui/icons";
import { Ago, Card, LoadingRows, Problem, Snippet } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./accounts.module.css";
import { groupsOf, rowsOf, type GroupRow } from "./groups";

type Stored = Awaited<ReturnType<typeof oidc.get>>;

/** Who else people sign in with, and which roles its groups give. */
export function Provider() {
  const client = useQueryClient();
  const query = useQuery({
    queryKey: ["oidc"],
    queryFn: async (context): Promise<Stored | null> => {
      const stored = await oidc.get(context);
      return stored.name === "" ? null : stored;
    },
  });
  const [editing, setEditing] = useState(false);
  const p = query.data;
  const refresh = () => {
    void client.invalidateQueries({ queryKey: ["oidc"] });
    void client.invalidateQueries({ queryKey: ["users"] });
  };
  return (
    <section className={css.block} aria-labelledby="provider">
      <div className={css.title}>
        <h2 id="provider">Sign-in with a provider</h2>
        {p === null && !editing && (
          <Button variant="default" leftSection={<PlusIcon size={14} />} onClick={() => setEditing(true)}>
            Set up a provider
          </Button>
        )}
      </div>
      {query.error && p === undefined ? (
        <Problem what="The provider could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : p === undefined ? (
        <LoadingRows rows={2} />
      ) : editing ? (
        <ProviderForm
          stored={p}
          close={() => setEditing(false)}
          saved={() => {
            setEditing(false);
            refresh();
          }}
        />
      ) : (
        <Card label="Sign-in with a provider">
          {p === null ? (
            <p className={css.none}>People sign in with a password. With OpenID Connect (Keycloak, Entra ID, Okta, Google, …) they use the account that they have, and their groups give the roles.</p>
          ) : (
            <div className={css.row}>
              <div className={css.who}>
                <h3>
                  {inert(p.name)} {p.enabled ? <Chip tone="good">On</Chip> : <Chip tone="quiet">Off</Chip>}
                </h3>
                <p className="faint">
                  <span className="mono">{inert(p.issuer)}</span>, {p.has_secret ? "with a client secret" : "without a client secret"}, changed <Ago at={p.updated_at} suffix=" ago" />
                </p>
                <p className="dim">
                  {p.groups.length === 0 ? "No group has a role: nobody gets in." : p.groups.map((g) => `${g.group === "*" ? "everybody" : inert(g.group)}: ${g.roles.map(inert).join(", ")}`).join(" · ")}
                </p>
              </div>
              <div className={css.acts}>
                <Button variant="default" size="compact-sm" onClick={() => setEditing(true)} aria-label={`Edit ${inert(p.name)}`}>
                  Edit
                </Button>
                <Remove name={p.name} remove={oidc.remove} then={async () => refresh()} />
              </div>
            </div>
          )}
        </Card>
      )}
    </section>
  );
}

function ProviderForm({ stored, close, saved }: { stored: Stored | null; close: () => void; saved: () => void }) {
  const known = useQuery({ queryKey: ["roles"], queryFn: roleCalls.list });
  const [issuer, setIssuer] = useState(stored?.issuer ?? "");
  const [rows, setRows] = useState<GroupRow[]>(rowsOf(stored?.groups ?? []));
  const [wrong, setWrong] = useState("");
  const check = useMutation({ mutationFn: () => oidc.check(issuer.trim()) });
  const save = useMutation({ mutationFn: oidc.put, onSuccess: saved });
  const set = (i: number, change: Partial<GroupRow>) => setRows(rows.map((r, n) => (n === i ? { ...r, ...change } : r)));
  const submit = (form: FormData) => {
    const groups = groupsOf(rows);
    if (typeof groups === "string") {
      setWrong(groups);
      return;
    }
    setWrong("");
    save.mutate({
      name: text(form, "name"),
      issuer: issuer.trim(),
      client_id: text(form, "client_id"),
      client_secret: optional(form, "client_secret"),
      scopes: text(form, "scopes").split(/\s+/).filter(Boolean),
      username_claim: optional(form, "username_claim"),
      groups_claim: optional(form, "groups_claim"),
      provision: form.get("provision") !== null,
      enabled: form.get("enabled") !== null,
      passwords: form.get("passwords") === "admins" ? "admins" : "everybody",
      groups,
    });
  };
  return (
    <Form className={css.form} label="Sign-in with a provider" submit={submit}>
      <div className={css.pair}>
        <TextInput name="name" label="Name" description="As on the button: Sign in with …" defaultValue={stored?.name} required maxLength={60} autoFocus />
        <TextInput label="Issuer" description="Its URL, as the provider says it" placeholder="https://login.example.com" type="url" value={issuer} onChange={(e) => setIssuer(e.currentTarget.value)} required maxLength={500} spellCheck={false} />
        <TextInput name="client_id" label="Client ID" defaultValue={stored?.client_id} required maxLength={200} spellCheck={false} />
        <PasswordInput name="client_secret" label="Client secret" description={stored?.has_secret ? "Kept. Give one only to replace it." : "Empty for a public client"} autoComplete="off" maxLength={1000} />
      </div>
      <div className={css.buttons}>
        <Button variant="default" disabled={!issuer.trim()} loading={check.isPending} onClick={() => check.mutate()}>
          Ask the provider
        </Button>
      </div>
      {check.error && <Problem what="The provider cannot be used like that." error={check.error} />}
      {check.data && (
        <div role="status">
          <p>It answers. Enter this redirect URL there, exactly:</p>
          <Snippet text={check.data.redirect_url} label="the redirect URL" wrap />
          {check.data.misses.length > 0 && <p className="dim">It does not say that it has: {check.data.misses.map(inert).join("; ")}.</p>}
        </div>
      )}
      <fieldset className={css.groups}>
        <legend>Roles by group</legend>
        <p className="faint">Whoever signs in has the roles of all their groups, and no others. They are read again at each sign-in. Group * is everybody.</p>
        {rows.map((row, i) => (
          <div key={i} className={css.group}>
            <TextInput label="Group" aria-label={`Group ${i + 1}`} value={row.group} onChange={(e) => set(i, { group: e.currentTarget.value })} maxLength={300} spellCheck={false} />
            <div className={css.groupRoles} role="group" aria-label={`Roles of group ${i + 1}`}>
              {(known.data ?? []).map((r) => (
                <Checkbox key={r.id} label={inert(r.id)} checked={row.roles.includes(r.id)} onChange={(e) => set(i, { roles: e.currentTarget.checked ? [...row.roles, r.id] : row.roles.filter((x) => x !== r.id) })} />
              ))}
            </div>
            <Button variant="subtle" size="compact-sm" onClick={() => setRows(rows.filter((_, n) => n !== i))} aria-label={`Remove group ${i + 1}`}>
              Remove
            </Button>
          </div>
        ))}
        <div>
          <Button variant="default" size="compact-sm" leftSection={<PlusIcon size={12} />} onClick={() => setRows([...rows, { group: "", roles: [] }])}>
            Add a group
          </Button>
        </div>
      </fieldset>
      <div className={css.pair}>
        <TextInput name="username_claim" label="Claim with the user name" defaultValue={stored?.username_claim ?? "preferred_username"} required maxLength={200} spellCheck={false} />
        <TextInput name="groups_claim" label="Claim with the groups" description="a.b is b in a" defaultValue={stored?.groups_claim ?? "groups"} required maxLength={200} spellCheck={false} />
        <TextInput name="scopes" label="Scopes" description="Beside openid" defaultValue={(stored?.scopes ?? ["profile", "groups"]).join(" ")} maxLength={500} spellCheck={false} />
        <NativeSelect
          name="passwords"
          label="Passwords"
          description="Admins get in when the provider is away"
          defaultValue={stored?.passwords ?? "everybody"}
          data={[
            { value: "everybody", label: "everybody may use theirs" },
            { value: "admins", label: "only who manages accounts" },
          ]}
        />
      </div>
      <Checkbox name="provision" defaultChecked={stored?.provision ?? true} label="Make an account for whoever has a role by their groups" description="Otherwise somebody has to link each user. A user name that is taken is never taken over." />
      <Checkbox name="enabled" defaultChecked={stored?.enabled ?? true} label="People can sign in with it" />
      {wrong && (
        <p className={css.wrong} role="alert">
          {wrong}
        </p>
      )}
      <Ends of={save} what="It was not saved." close={close} className={css.buttons} />
    </Form>
  );
}
