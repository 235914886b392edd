import { Button, NativeSelect, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { actors, sources } from "../api/calls";
import type { ServiceActor } from "../api/types";
import { Remove } from "../grouping/Remove";
import { inert } from "../text/visible";
import { Ends, Form, useSave } from "../ui/form";
import { PlusIcon } from "../ui/icons";
import { Card, LoadingRows, Problem } from "../ui/parts";
import css from "./accounts.module.css";
import { agentIDs } from "./agents";

const kinds: Record<string, string> = { "alert:*": "What alerts start", "service:*": "What Akmatori itself starts" };

/** The roles of those who are no users: what alerts start, each source or all of them, and the program itself. */
export function Actors() {
  const query = useQuery({ queryKey: ["actors"], queryFn: actors.list });
  const named = useQuery({ queryKey: ["sources"], queryFn: sources.list });
  const [open, setOpen] = useState(""); // the actor in the form, "new" or nothing
  const client = useQueryClient();
  const refresh = () => client.invalidateQueries({ queryKey: ["actors"] });
  const nameOf = (actor: string) => {
    const source = named.data?.find((s) => `alert:${s.id}` === actor);
    return kinds[actor] ?? (source ? `What alerts of ${inert(source.name)} start` : inert(actor));
  };
  return (
    <section className={css.block} aria-labelledby="actors">
      <div className={css.title}>
        <h2 id="actors">What starts by itself</h2>
        {open !== "new" && (
          <Button variant="default" leftSection={<PlusIcon size={14} />} onClick={() => setOpen("new")}>
            Roles for one source
          </Button>
        )}
      </div>
      {open === "new" && <ActorForm close={() => setOpen("")} sources={(named.data ?? []).map((s) => ({ value: `alert:${s.id}`, label: s.name }))} />}
      {query.error && !query.data ? (
        <Problem what="The roles of what starts by itself could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <Card label="What starts by itself">
          {query.data ? (
            <ul className={css.list}>
              {query.data.map((a) => (
                <li key={a.actor} className={css.row}>
                  {open === a.actor ? (
                    <ActorForm actor={a} close={() => setOpen("")} sources={[]} />
                  ) : (
                    <>
                      <div className={css.who}>
                        <h3>{nameOf(a.actor)}</h3>
                        <p className="faint">{a.roles.length > 0 ? a.roles.map(inert).join(", ") : "may do nothing"}</p>
                      </div>
                      <div className={css.acts}>
                        <Button variant="default" size="compact-sm" onClick={() => setOpen(a.actor)} aria-label={`Edit ${nameOf(a.actor)}`}>
                          Edit
                        </Button>
                        {!kinds[a.actor] && <Remove name={a.actor} remove={() => actors.remove(a.actor)} then={refresh} />}
                      </div>
                    </>
                  )}
                </li>
              ))}
            </ul>
          ) : (
            <LoadingRows rows={2} />
          )}
        </Card>
      )}
    </section>
  );
}

function ActorForm({ actor, sources, close }: { actor?: ServiceActor; sources: { value: string; label: string }[]; close: () => void }) {
  const [who, setWho] = useState(actor?.actor ?? sources[0]?.value ?? "");
  const [roles, setRoles] = useState((actor?.roles ?? ["automation"]).join(" "));
  const save = useSave(() => actors.put(who, agentIDs(roles)), "actors", close);
  return (
    <Form className={actor ? css.inline : css.form} label={actor ? `Edit ${inert(actor.actor)}` : "Roles for one source"} submit={() => save.mutate()}>
      {!actor && (
        <NativeSelect className={css.short} label="Source" value={who} onChange={(e) => setWho(e.currentTarget.value)} data={sources.map((s) => ({ ...s, label: inert(s.label) }))} required />
      )}
      <TextInput
        className={css.short}
        label="Roles"
        description="With blanks between. They need the permission to work on incidents, and the agent."
        value={roles}
        onChange={(e) => setRoles(e.currentTarget.value)}
        spellCheck={false}
        autoCapitalize="none"
      />
      <Ends of={save} disabled={who === ""} close={close} className={css.buttons} />
    </Form>
  );
}
