import { Button, Checkbox, Textarea, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { linesOf } from "../agents/agents";
import { roles } from "../api/calls";
import type { Role } from "../api/types";
import { Remove } from "../grouping/Remove";
import { inert } from "../text/visible";
import { Ends, Form, useSave } from "../ui/form";
import { PlusIcon } from "../ui/icons";
import kit from "../ui/kit.module.css";
import { Card, LoadingRows, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./accounts.module.css";
import { agentIDs } from "./agents";
import { ordered, type Permission, permissions } from "./may";

export function Roles() {
  const query = useQuery({ queryKey: ["roles"], queryFn: roles.list });
  const [open, setOpen] = useState(""); // the id of the role in the form, "new:" or nothing
  const client = useQueryClient();
  const refresh = () => client.invalidateQueries({ queryKey: ["roles"] });
  return (
    <section className={css.block} aria-labelledby="roles">
      <div className={css.title}>
        <h2 id="roles">Roles</h2>
        {open !== "new:" && (
          <Button variant="default" leftSection={<PlusIcon size={14} />} onClick={() => setOpen("new:")}>
            New role
          </Button>
        )}
      </div>
      {open === "new:" && <RoleForm close={() => setOpen("")} />}
      {query.error && !query.data ? (
        <Problem what="The roles could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <Card label="All roles">
          {query.data ? (
            <ul className={css.list}>
              {query.data.map((r) => (
                <li key={r.id} className={css.row}>
                  {open === r.id ? (
                    <RoleForm role={r} close={() => setOpen("")} />
                  ) : (
                    <>
                      <div className={css.who}>
                        <h3>
                          {inert(r.id)} {r.built_in && <Chip tone="quiet">Built in</Chip>}
                        </h3>
                        {r.description && <p className="dim">{inert(r.description)}</p>}
                        <p className={`${css.powers} faint`}>
                          <span>{ordered(r.actions).map(inert).join(", ") || "may do nothing"}</span>
                          {r.agents.length > 0 && <span> · starts {r.agents.includes("*") ? "every agent" : r.agents.map(inert).join(", ")}</span>}
                          {r.deny.length > 0 && (
                            <span>
                              {" "}
                              · not {r.deny.map(inert).join(", ")}
                              {r.allow.length > 0 && ` but ${r.allow.map(inert).join(", ")}`}
                            </span>
                          )}
                        </p>
                      </div>
                      {!r.built_in && (
                        <div className={css.acts}>
                          <Button variant="default" size="compact-sm" onClick={() => setOpen(r.id)} aria-label={`Edit ${inert(r.id)}`}>
                            Edit
                          </Button>
                          <Remove name={r.id} remove={() => roles.remove(r.id)} then={refresh} />
                        </div>
                      )}
                    </>
                  )}
                </li>
              ))}
            </ul>
          ) : (
            <LoadingRows rows={4} />
          )}
        </Card>
      )}
    </section>
  );
}

function RoleForm({ role, close }: { role?: Role; close: () => void }) {
  const [id, setID] = useState(role?.id ?? "");
  const [description, setDescription] = useState(role?.description ?? "");
  const [actions, setActions] = useState<string[]>(role?.actions ?? ["read"]);
  const [agents, setAgents] = useState((role?.agents ?? []).join(" "));
  const [deny, setDeny] = useState((role?.deny ?? []).join("\n"));
  const [allow, setAllow] = useState((role?.allow ?? []).join("\n"));
  const save = useSave(() => roles.put(id, { description, actions, agents: agentIDs(agents), deny: linesOf(deny), allow: linesOf(allow) }), "roles", close);
  return (
    <Form className={role ? css.inline : css.form} label={role ? `Edit ${inert(role.id)}` : "New role"} submit={() => save.mutate()}>
      {role ? (
        <h3>{inert(role.id)}</h3>
      ) : (
        <TextInput
          className={css.short}
          label="Name"
          description="Small letters, digits, - and _"
          pattern="[a-z][a-z0-9_\-]*"
          value={id}
          onChange={(e) => setID(e.currentTarget.value)}
          maxLength={63}
          required
          autoFocus
          autoCapitalize="none"
          spellCheck={false}
        />
      )}
      <TextInput label="Description" value={description} onChange={(e) => setDescription(e.currentTarget.value)} maxLength={500} />
      <fieldset className={css.boxes}>
        <legend>May do</legend>
        {(Object.keys(permissions) as Permission[]).map((p) => (
          <Checkbox
            key={p}
            label={permissions[p]}
            description={p}
            checked={actions.includes(p)}
            onChange={(e) => setActions(e.currentTarget.checked ? [...actions, p] : actions.filter((x) => x !== p))}
          />
        ))}
      </fieldset>
      <TextInput
        label="Agents that may be started"
        description="Their ids with spaces between; * is every one. Needs the permission to work on incidents."
        value={agents}
        onChange={(e) => setAgents(e.currentTarget.value)}
        placeholder="*"
        autoCapitalize="none"
        spellCheck={false}
      />
      <div className={css.tools}>
        <Textarea
          label="Tools that their runs may not use"
          description="One a line: tool:NAME, tool:prefix*, tool:* or tool:NAME:PATTERN. It holds beside an agent's own rules."
          placeholder={"tool:ssh_execute"}
          value={deny}
          onChange={(e) => setDeny(e.currentTarget.value)}
          autosize
          minRows={2}
          maxRows={10}
          spellCheck={false}
          classNames={{ input: kit.code }}
        />
        <Textarea
          label="But"
          description="Exceptions, each narrower than what it is an exception from."
          placeholder={"tool:ssh_execute:df *"}
          value={allow}
          onChange={(e) => setAllow(e.currentTarget.value)}
          autosize
          minRows={2}
          maxRows={10}
          spellCheck={false}
          classNames={{ input: kit.code }}
        />
      </div>
      <Ends of={save} close={close} className={css.buttons} />
    </Form>
  );
}
