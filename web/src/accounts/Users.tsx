import { Button, Checkbox, TextInput } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { roles, users } from "../api/calls";
import { messageOf } from "../api/client";
import type { Account, Body, Role } from "../api/types";
import { Made, Once } from "../settings/settings";
import { absolute, isTime } from "../text/time";
import { inert } from "../text/visible";
import { Ends, Form } from "../ui/form";
import { useHotkeys } from "../ui/hotkeys";
import { PlusIcon } from "../ui/icons";
import { Ago, Card, LoadingRows, Problem, Snippet } from "../ui/parts";
import { SearchBox } from "../ui/SearchBox";
import { Chip } from "../ui/state";
import css from "./accounts.module.css";
import { SessionsOf } from "./Sessions";
import { useUser } from "./may";
import { howSignsIn, SignIn } from "./SignIn";

/** An invitation, as long as it is on the screen: its link is answered only once. */
interface Invitation {
  username: string;
  link: string;
  expires_at: string;
}

export function Users() {
  const [q, setQ] = useState("");
  const box = useRef<HTMLInputElement>(null);
  useHotkeys("accounts", { "/": () => box.current?.focus() });
  const query = useInfiniteQuery({
    queryKey: ["users", q],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => users.list({ q, ...(pageParam ? { cursor: pageParam } : {}) }, { signal }),
    getNextPageParam: (last) => last.next_cursor || undefined,
    placeholderData: keepPreviousData,
  });
  const all = query.data?.pages.flatMap((p) => p.items);
  const known = useQuery({ queryKey: ["roles"], queryFn: roles.list });
  const [adding, setAdding] = useState(false);
  const [invitation, setInvitation] = useState<Invitation | null>(null);
  return (
    <section className={css.block} aria-labelledby="users">
      <div className={css.title}>
        <h2 id="users">Users</h2>
        <SearchBox ref={box} className={css.find} value={q} onChange={setQ} label="Find users" placeholder="Find" rest={250} />
        {!adding && (
          <Button
            leftSection={<PlusIcon size={14} />}
            onClick={() => {
              setInvitation(null);
              setAdding(true);
            }}
          >
            Invite a user
          </Button>
        )}
      </div>
      {invitation && (
        <Made title={`${inert(invitation.username)} is invited`} close={() => setInvitation(null)}>
          <Once>
            Send this link to {inert(invitation.username)}. It is shown only now, works once, until {absolute(invitation.expires_at)}. Whoever opens it sets their password.
          </Once>
          <Snippet text={invitation.link} label="the link" wrap />
        </Made>
      )}
      {adding && (
        <NewUser
          roles={known.data ?? []}
          close={() => setAdding(false)}
          made={(m) => {
            setAdding(false);
            setInvitation(m);
          }}
        />
      )}
      {query.error && query.data && <Problem what="The users could not be refreshed." error={query.error} kept="What is shown is from before." />}
      {query.error && !query.data ? (
        <Problem what="The users could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <Card label="All users">
          {all ? (
            <ul className={css.list}>
              {all.map((u) => (
                <UserRow key={u.id} user={u} roles={known.data ?? []} invited={setInvitation} />
              ))}
            </ul>
          ) : (
            <LoadingRows rows={3} />
          )}
          {all?.length === 0 && q && <p className={css.next}>Nobody has “{q}” in their name.</p>}
          {query.hasNextPage && (
            <div className={css.next}>
              <Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
                Show more
              </Button>
            </div>
          )}
        </Card>
      )}
    </section>
  );
}

function useRefresh() {
  const client = useQueryClient();
  return () => client.invalidateQueries({ queryKey: ["users"] });
}

function NewUser({ roles: known, close, made }: { roles: Role[]; close: () => void; made: (m: Invitation) => void }) {
  const [username, setUsername] = useState("");
  const [chosen, setChosen] = useState<string[]>(["viewer"]);
  const refresh = useRefresh();
  const create = useMutation({
    mutationFn: () => users.create({ username, roles: chosen }),
    onSuccess: (answer) => {
      void refresh();
      made({ username, link: answer.link, expires_at: answer.expires_at });
    },
  });
  return (
    <Form className={css.form} label="Invite a user" submit={() => create.mutate()}>
      <TextInput
        className={css.short}
        label="User name"
        description="Letters, digits and . _ @ -"
        pattern="[A-Za-z0-9][A-Za-z0-9._@\-]*"
        value={username}
        onChange={(e) => setUsername(e.currentTarget.value)}
        maxLength={64}
        required
        autoFocus
        autoCapitalize="none"
        spellCheck={false}
      />
      <RoleBoxes roles={known} chosen={chosen} set={setChosen} />
      <Ends of={create} what="Nobody was invited." save="Make the link" close={close} className={css.buttons} />
    </Form>
  );
}

function RoleBoxes({ roles: known, chosen, set }: { roles: Role[]; chosen: string[]; set: (chosen: string[]) => void }) {
  return (
    <fieldset className={css.boxes}>
      <legend>Roles</legend>
      {known.map((r) => (
        <Checkbox
          key={r.id}
          label={inert(r.id)}
          description={inert(r.description) || undefined}
          checked={chosen.includes(r.id)}
          onChange={(e) => set(e.currentTarget.checked ? [...chosen, r.id] : chosen.filter((x) => x !== r.id))}
        />
      ))}
    </fieldset>
  );
}

function UserRow({ user: u, roles: known, invited }: { user: Account; roles: Role[]; invited: (i: Invitation) => void }) {
  const me = useUser();
  const [editing, setEditing] = useState(false);
  const [where, setWhere] = useState(false); // whether it shows where they are signed in
  const [signIn, setSignIn] = useState(false); // whether it shows how they sign in
  const [chosen, setChosen] = useState(u.roles);
  const [sure, setSure] = useState(false);
  const refresh = useRefresh();
  const change = useMutation({
    mutationFn: (body: Body<"UserChangeBody">) => users.change(u.id, body),
    onSuccess: () => setEditing(false),
    onSettled: () => {
      setSure(false);
      return refresh();
    },
  });
  const invite = useMutation({
    mutationFn: () => users.invite(u.id),
    onSuccess: (answer) => {
      void refresh();
      invited({ username: u.username, link: answer.link, expires_at: answer.expires_at });
    },
  });
  const disabled = isTime(u.disabled_at);
  const error = change.error ?? invite.error;
  return (
    <li className={css.row}>
      <div className={css.who}>
        <h3>
          {inert(u.username)} {u.id === me.id && <Chip tone="accent">You</Chip>} {u.invited && <Chip tone="warning">Invited</Chip>} {u.second_factor && <Chip tone="good">Second factor</Chip>} {disabled && <Chip tone="quiet">Disabled</Chip>}
        </h3>
        <p className="dim">
          {u.roles.map(inert).join(", ") || "no roles"}
          <span className="faint">
            {" · "}
            {howSignsIn(u)}
            {" · "}made <Ago at={u.created_at} suffix=" ago" />
          </span>
        </p>
      </div>
      {!editing && (
        <div className={css.acts}>
          <Button
            variant="default"
            size="compact-sm"
            onClick={() => {
              setChosen(u.roles);
              setEditing(true);
            }}
            disabled={u.roles_by_groups}
            title={u.roles_by_groups ? "Their groups at the provider give the roles." : undefined}
            aria-label={`Roles of ${inert(u.username)}`}
          >
            Roles
          </Button>
          <Button variant="default" size="compact-sm" aria-expanded={where} onClick={() => setWhere(!where)} aria-label={`Sessions of ${inert(u.username)}`}>
            Sessions
          </Button>
          <Button variant="default" size="compact-sm" aria-expanded={signIn} onClick={() => setSignIn(!signIn)} aria-label={`Sign-in of ${inert(u.username)}`}>
            Sign-in
          </Button>
          <Button variant="default" size="compact-sm" disabled={!u.password && !!u.oidc_subject} loading={invite.isPending} onClick={() => invite.mutate()} title="With it they set a new password; the one they have works until then." aria-label={`New link for ${inert(u.username)}`}>
            New link
          </Button>
          <Button
            variant={sure ? "filled" : "default"}
            color={sure ? "red" : undefined}
            size="compact-sm"
            loading={change.isPending}
            onClick={() => (disabled ? change.mutate({ disabled: false }) : sure ? change.mutate({ disabled: true }) : setSure(true))}
            onBlur={() => setSure(false)}
            aria-label={`${disabled ? "Enable" : sure ? "Really disable" : "Disable"} ${inert(u.username)}`}
          >
            {disabled ? "Enable" : sure ? "Really disable" : "Disable"}
          </Button>
        </div>
      )}
      {editing && (
        <Form className={css.inline} label={`Roles of ${inert(u.username)}`} submit={() => change.mutate({ roles: chosen })}>
          <RoleBoxes roles={known} chosen={chosen} set={setChosen} />
          <div className={css.buttons}>
            <Button type="submit" loading={change.isPending}>
              Save
            </Button>
            <Button variant="default" onClick={() => setEditing(false)}>
              Cancel
            </Button>
          </div>
        </Form>
      )}
      {signIn && (
        <div className={css.inline}>
          <SignIn user={u} refresh={refresh} />
        </div>
      )}
      {where && (
        <div className={css.inline}>
          <SessionsOf user={u} />
        </div>
      )}
      {error && (
        <p className={css.wrong} role="alert">
          {inert(messageOf(error))}
        </p>
      )}
    </li>
  );
}
