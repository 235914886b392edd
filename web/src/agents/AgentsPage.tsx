import { Button, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { agents } from "../api/calls";
import type { Agent } from "../api/types";
import { inert } from "../text/visible";
import { Ends, Form } from "../ui/form";
import { PlusIcon } from "../ui/icons";
import { Ago, Card, LoadingRows, Page, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./agents.module.css";

/** Who investigates: the agents, with what each may do in one line. */
export function AgentsPage() {
  const query = useQuery({ queryKey: ["agents"], queryFn: agents.list });
  const mayChange = useMay()("agents.manage");
  const [making, setMaking] = useState(false);
  return (
    <Page
      title="Agents"
      lead="Who investigates, and what each may do. What no rule allows, people are asked for. A change holds from an agent's next call on."
      action={
        mayChange &&
        !making && (
          <Button leftSection={<PlusIcon size={14} />} onClick={() => setMaking(true)}>
            New agent
          </Button>
        )
      }
    >
      {making && <NewAgent close={() => setMaking(false)} />}
      {query.error && !query.data ? (
        <Problem what="The agents could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : !query.data ? (
        <Card><LoadingRows rows={3} /></Card>
      ) : (
        <Card label="All agents">
          <ul>
            {query.data.map((a) => (
              <Row key={a.id} agent={a} />
            ))}
          </ul>
        </Card>
      )}
    </Page>
  );
}

function Row({ agent: a }: { agent: Agent }) {
  const rules = a.rules ?? [];
  const count = (verb: string) => rules.filter((r) => r.startsWith(`${verb}:`)).length;
  return (
    <li className={css.row}>
      <div>
        <h2>
          <Link to="/agents/$id" params={{ id: a.id }}>
            {inert(a.id)}
          </Link>{" "}
          {a.built_in && <Chip tone="quiet">Default</Chip>} {a.disabled_at && <Chip tone="warning">Disabled</Chip>}{" "}
          {a.warnings.length > 0 && <Chip tone="warning">Look at its rules</Chip>}
        </h2>
        {a.description && <p className="dim">{inert(a.description)}</p>}
        <p className="faint">
          {rules.length === 0 ? "Everything is asked." : `${count("allow")} rules allow, ${count("ask")} ask, ${count("deny")} deny; all else is ${rules.includes("deny:*") ? "denied" : "asked"}.`}
          {(a.tools ?? []).length > 0 && ` Has ${(a.tools ?? []).map(inert).join(", ")}.`}
          {(a.sub_agents ?? []).length > 0 && ` May ask ${(a.sub_agents ?? []).map(inert).join(", ")}.`}
        </p>
      </div>
      <span className="faint">
        changed <Ago at={a.updated_at} suffix=" ago" />
      </span>
    </li>
  );
}

function NewAgent({ close }: { close: () => void }) {
  const [id, setID] = useState("");
  const client = useQueryClient();
  const navigate = useNavigate();
  const make = useMutation({
    mutationFn: () => agents.create({ id }),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["agents"] });
      await navigate({ to: "/agents/$id", params: { id } });
    },
  });
  return (
    <Form className={css.new} label="New agent" submit={() => make.mutate()}>
      <TextInput
        label="Name"
        description="Small letters, digits, - and _. It starts without rules: everything is asked."
        pattern="[a-z][a-z0-9_\-]*"
        value={id}
        onChange={(e) => setID(e.currentTarget.value)}
        maxLength={63}
        required
        autoFocus
        autoCapitalize="none"
        spellCheck={false}
      />
      <Ends of={make} what="Nothing was made." save="Make it" close={close} className={css.buttons} />
    </Form>
  );
}
