import { Button, NativeSelect, PasswordInput, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { credentials, targets } from "../api/calls";
import type { Setup } from "../api/types";
import { Enrol } from "../settings/Enrol";
import { nameField, text } from "../settings/settings";
import { Form } from "../ui/form";
import { LoadingRows, Problem } from "../ui/parts";
import css from "./wizard.module.css";

/** A host: how to log in, whether it is the right one, and a login. */
export function TargetStep({ state }: { state: Setup }) {
  const query = useQuery({ queryKey: ["targets"], queryFn: targets.list });
  const id = state.target.id;
  if (!id) return <NewTarget />;
  const target = query.data?.find((t) => t.id === id);
  return (
    <div className={css.part}>
      {state.target.state === "done" && <p className={css.good}>✓ The agent can reach it.</p>}
      {target ? (
        <Enrol target={target} />
      ) : query.error ? (
        <Problem what="The host could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <LoadingRows rows={3} />
      )}
      <p className={css.dim}>
        More hosts and jump hosts: <Link to="/targets">Targets</Link>. Other keys: <Link to="/credentials">Credentials</Link>.
      </p>
    </div>
  );
}

function NewTarget() {
  const client = useQueryClient();
  const [kind, setKind] = useState<"ssh_key" | "ssh_password" | "">("ssh_key");
  const known = useQuery({ queryKey: ["credentials"], queryFn: credentials.list });
  const logins = (known.data ?? []).filter((c) => c.kind === "ssh_key" || c.kind === "ssh_password");
  const create = useMutation({
    mutationFn: async (form: FormData) => {
      const name = text(form, "name");
      let credential = text(form, "credential");
      if (kind !== "") {
        // Tried again after the host was refused, the login is there already.
        credential = `${name}-login`;
        const have = (await credentials.list({})).find((c) => c.name === credential);
        const passphrase = String(form.get("passphrase") ?? "");
        const secret = { secret: String(form.get("secret") ?? ""), ...(passphrase ? { passphrase } : {}) };
        if (have) await credentials.rotate(have.id, secret);
        else await credentials.create({ name: credential, kind, targets: [name], ...secret });
      }
      return targets.create({ name, kind: "ssh", address: text(form, "address"), port: Number(text(form, "port")), user: text(form, "user"), credential });
    },
    onSettled: () => void client.invalidateQueries({ queryKey: ["credentials"] }),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["targets"] });
      await client.invalidateQueries({ queryKey: ["setup-state"] });
    },
  });
  return (
    <Form className={css.part} submit={(form) => create.mutate(form)} label="New host">
      <div className={css.fields}>
        <TextInput {...nameField} autoFocus={false} placeholder="web-1" description="As alerts name it, if you can: the agent finds it by that." />
        <TextInput name="address" label="Address" description="A name or an IP address." placeholder="web-1.example.com" required />
        <TextInput name="user" label="User" description="One that may only look is best." placeholder="akmatori" required autoCapitalize="none" spellCheck={false} />
        <TextInput name="port" label="SSH port" description="22 almost everywhere." type="number" min={1} max={65535} defaultValue="22" required />
        <NativeSelect
          label="It logs in with"
          value={kind}
          onChange={(e) => setKind(e.currentTarget.value as typeof kind)}
          data={[
            { value: "ssh_key", label: "A private key" },
            { value: "ssh_password", label: "A password" },
            ...(logins.length > 0 ? [{ value: "", label: "A credential that is there" }] : []),
          ]}
        />
        {kind === "" && <NativeSelect name="credential" label="Credential" data={logins.map((c) => ({ value: c.name, label: c.name }))} />}
        {kind === "ssh_password" && (
          <PasswordInput name="secret" label="Password of the host's user" description="Sealed to the gateway, and never shown again." required autoComplete="new-password" />
        )}
        {kind === "ssh_key" && (
          <>
            <PasswordInput name="passphrase" label="Passphrase" description="If the key has one." autoComplete="new-password" />
            <Textarea
              className={css.full}
              name="secret"
              label="Private key"
              description="In OpenSSH or PEM form, whole. Sealed to the gateway, and never shown again."
              placeholder="-----BEGIN OPENSSH PRIVATE KEY-----"
              rows={4}
              required
              spellCheck={false}
              autoComplete="off"
            />
          </>
        )}
      </div>
      {create.error && <Problem what="The host was not added." error={create.error} />}
      <div>
        <Button type="submit" loading={create.isPending}>
          Add the host
        </Button>
      </div>
    </Form>
  );
}
