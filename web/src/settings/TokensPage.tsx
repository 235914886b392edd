import { Button, Checkbox, NativeSelect, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ordered, type Permission, permissions, useUser } from "../accounts/may";
import { tokens } from "../api/calls";
import { messageOf } from "../api/client";
import type { APIToken, Body } from "../api/types";
import { isTime } from "../text/time";
import { inert } from "../text/visible";
import { TokenIcon } from "../ui/icons";
import { Ago, Left, Snippet } from "../ui/parts";
import { type Column, full, Made, Once, Settings, Sub, text } from "./settings";
import css from "./settings.module.css";

export function TokensPage() {
  return (
    <Settings
      title="API tokens"
      noun="token"
      name="tokens"
      lead="For scripts and the akmatori command. A token acts as you, with as much of your permissions as you give it, until it expires or is revoked."
      art={<TokenIcon size={20} />}
      empty="Make one for each script or machine, so that you can revoke it alone."
      list={tokens.list}
      columns={columns}
      create={tokens.create}
      read={readToken}
      fields={<Fields />}
      made={(made, close) => (
        <Made title={`${inert(made.name)} is ready`} close={close}>
          <Once>The token is shown only now. Only its hash is kept.</Once>
          <Snippet text={made.token} label="the token" wrap />
          <Snippet text={`curl -H "Authorization: Bearer $TOKEN" ${location.origin}/api/v1/incidents`} label="a first call" wrap />
        </Made>
      )}
    />
  );
}

const dayMs = 86_400_000;

/** The form as a request. A token that may do everything stays so when its user is given more. */
function readToken(form: FormData): Body<"NewTokenBody"> {
  const days = Number(text(form, "days"));
  return {
    name: text(form, "name"),
    ...(days > 0 ? { expires_at: new Date(Date.now() + days * dayMs).toISOString() } : {}),
    ...(text(form, "scope") === "some" ? { actions: form.getAll("action").map(String) } : {}),
  };
}

function Fields() {
  const user = useUser();
  const [scope, setScope] = useState("all");
  return (
    <>
      <TextInput name="name" label="Name" placeholder="laptop" description="What it is for." required autoFocus maxLength={100} />
      <NativeSelect
        name="days"
        label="Expires"
        description="From then on it is worth nothing."
        defaultValue="90"
        data={[
          { value: "7", label: "In 7 days" },
          { value: "30", label: "In 30 days" },
          { value: "90", label: "In 90 days" },
          { value: "365", label: "In a year" },
          { value: "0", label: "Never" },
        ]}
      />
      <NativeSelect
        name="scope"
        label="It may do"
        value={scope}
        onChange={(e) => setScope(e.currentTarget.value)}
        data={[
          { value: "all", label: "All that I may do" },
          { value: "some", label: "Only some of it" },
        ]}
      />
      {scope === "some" && (
        <fieldset className={`${full} ${css.boxes}`}>
          <legend className="sr-only">Permissions of the token</legend>
          {ordered(user.actions).map((a) => (
            <Checkbox key={a} name="action" value={a} label={permissions[a as Permission] ?? inert(a)} description={inert(a)} defaultChecked={a === "read"} />
          ))}
        </fieldset>
      )}
    </>
  );
}

const columns: Column<APIToken>[] = [
  { label: "Name", show: (t) => inert(t.name) },
  { label: "May do", show: (t) => (t.actions ? ordered(t.actions).map(inert).join(", ") || "nothing" : <span className="faint">All that you may</span>) },
  { label: "Made", show: (t) => <Ago at={t.created_at} suffix=" ago" /> },
  { label: "Last used", show: (t) => <Ago at={t.last_used_at} suffix=" ago" /> },
  { label: "Expires", show: (t) => <Expiry at={t.expires_at} /> },
  { label: "", end: true, show: (t) => <Revoke token={t} /> },
];

function Expiry({ at }: { at: string | undefined }) {
  if (!isTime(at)) return <span className="faint">never</span>;
  if (Date.parse(at) <= Date.now()) return <Sub bad>expired</Sub>;
  return (
    <>
      in <Left until={at} />
    </>
  );
}

/** Asks once more in place: the second press is the decision. */
function Revoke({ token }: { token: APIToken }) {
  const client = useQueryClient();
  const [sure, setSure] = useState(false);
  const revoke = useMutation({
    mutationFn: () => tokens.revoke(token.id),
    onSuccess: () => client.invalidateQueries({ queryKey: ["tokens"] }),
    onError: () => setSure(false),
  });
  return (
    <>
      <Button
        variant={sure ? "filled" : "default"}
        color={sure ? "red" : undefined}
        size="compact-sm"
        loading={revoke.isPending}
        onClick={() => (sure ? revoke.mutate() : setSure(true))}
        onBlur={() => setSure(false)}
        aria-label={`${sure ? "Really revoke" : "Revoke"} ${inert(token.name)}`}
      >
        {sure ? "Really revoke" : "Revoke"}
      </Button>
      {revoke.error && <Sub bad>{messageOf(revoke.error)}</Sub>}
    </>
  );
}
