import { Button, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { tokens } from "../api/calls";
import { messageOf } from "../api/client";
import type { APIToken } from "../api/types";
import { inert } from "../text/visible";
import { TokenIcon } from "../ui/icons";
import { Ago, Snippet } from "../ui/parts";
import { type Column, Made, Once, Settings, Sub, text } from "./settings";

export function TokensPage() {
  return (
    <Settings
      title="API tokens"
      noun="token"
      name="tokens"
      lead="For scripts and the akmatori command. A token acts as you until it is revoked."
      art={<TokenIcon size={20} />}
      empty="Make one for each script or machine, so that you can revoke it alone."
      list={tokens.list}
      columns={columns}
      create={tokens.create}
      read={(form) => ({ name: text(form, "name") })}
      fields={<TextInput name="name" label="Name" placeholder="laptop" description="What it is for." required autoFocus maxLength={100} />}
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

const columns: Column<APIToken>[] = [
  { label: "Name", show: (t) => inert(t.name) },
  { label: "Made", show: (t) => <Ago at={t.created_at} suffix=" ago" /> },
  { label: "Last used", show: (t) => <Ago at={t.last_used_at} suffix=" ago" /> },
  { label: "", end: true, show: (t) => <Revoke token={t} /> },
];

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
