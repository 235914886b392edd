import { Button, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { agents, skills } from "../api/calls";
import type { Agent, Skill } from "../api/types";
import { inert } from "../text/visible";
import { Ends, Form } from "../ui/form";
import { PlusIcon, SkillIcon } from "../ui/icons";
import { Ago, Card, Empty, LoadingRows, Page, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import { firstText, main, originOf, readersOf, writer } from "./skills";
import css from "./skills.module.css";
import { Upload } from "./Upload";

/** What agents can read to know how to look at something. */
export function SkillsPage() {
  const query = useQuery({ queryKey: ["skills"], queryFn: skills.list });
  const readers = useQuery({ queryKey: ["agents"], queryFn: agents.list });
  const mayChange = useMay()("agents.manage");
  const [open, setOpen] = useState<"" | "new" | "upload">("");
  const close = () => setOpen("");
  return (
    <Page
      title="Skills"
      lead="How to look at something, written for agents: an agent sees what each is for, and reads it when it helps. A skill allows nothing; what an agent may do, its rules say."
      action={
        mayChange &&
        open === "" && (
          <div className={css.acts}>
            <Button variant="default" onClick={() => setOpen("upload")}>
              Upload
            </Button>
            <Button leftSection={<PlusIcon size={14} />} onClick={() => setOpen("new")}>
              New skill
            </Button>
          </div>
        )
      }
    >
      {open === "new" && <NewSkill close={close} />}
      {open === "upload" && <Upload close={close} />}
      {query.error && !query.data ? (
        <Problem what="The skills could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : !query.data ? (
        <Card><LoadingRows /></Card>
      ) : (
        <>
          {query.error && <Problem what="The list could not be refreshed." error={query.error} kept="What is shown is from before." />}
          <Card label="All skills">
            {query.data.length === 0 ? (
              <Empty art={<SkillIcon size={20} />} title="No skills yet">
                Write what your people know of a service, or upload a folder that has a SKILL.md.
              </Empty>
            ) : (
              <ul>
                {query.data.map((s) => (
                  <Row key={s.name} skill={s} readers={readers.data} />
                ))}
              </ul>
            )}
          </Card>
        </>
      )}
    </Page>
  );
}

function Row({ skill: s, readers }: { skill: Skill; readers: Agent[] | undefined }) {
  const origin = originOf(s);
  return (
    <li className={css.row}>
      <div>
        <h2>
          <Link to="/skills/$name" params={{ name: s.name }}>
            {inert(s.name)}
          </Link>{" "}
          <Chip tone="quiet" title={origin.means}>
            {origin.word}
          </Chip>{" "}
          {!s.enabled && <Chip tone="warning">Off</Chip>}
        </h2>
        <p className="dim">{inert(s.description)}</p>
        {readers && <p className="faint">{readersText(readersOf(s.name, readers), s.enabled)}</p>}
      </div>
      <span className={css.when}>
        version {s.version} by {inert(writer(s.author))} <Ago at={s.created_at} suffix=" ago" plain />
      </span>
    </li>
  );
}

/** Who reads a skill, as a sentence. */
export function readersText(readers: "all" | string[], enabled: boolean): string {
  if (!enabled) return "It is off: no agent reads it.";
  if (readers === "all") return "All agents may read it.";
  return readers.length === 0 ? "No agent may read it yet." : `Read by ${readers.map(inert).join(", ")}.`;
}

function NewSkill({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const client = useQueryClient();
  const navigate = useNavigate();
  const make = useMutation({
    mutationFn: () => skills.create({ files: [{ path: main, text: firstText(name, description) }] }),
    onSuccess: async (made) => {
      client.setQueryData(["skills", made.name], made);
      void client.invalidateQueries({ queryKey: ["skills"], exact: true });
      await navigate({ to: "/skills/$name", params: { name: made.name } });
    },
  });
  return (
    <Form className={css.form} label="New skill" onKeyDown={(e) => e.key === "Escape" && close()} submit={() => make.mutate()}>
      <h2>New skill</h2>
      <TextInput
        label="Name"
        description="What agents and people call it: small letters, digits and single dashes. It cannot be changed later."
        placeholder="payment-queue"
        value={name}
        onChange={(e) => setName(e.currentTarget.value)}
        pattern="[a-z0-9]+(-[a-z0-9]+)*"
        title="Small letters, digits and single dashes."
        maxLength={64}
        required
        autoFocus
        autoCapitalize="none"
        spellCheck={false}
      />
      <TextInput
        label="Description"
        description="What it is for and when to use it. Agents see only this until they read the skill."
        placeholder="The payment queue: what makes it long, and what to look at. Use it for alerts on its length."
        value={description}
        onChange={(e) => setDescription(e.currentTarget.value)}
        maxLength={1024}
        required
      />
      <Ends of={make} save="Add and write it" close={close} className={css.acts} />
    </Form>
  );
}
