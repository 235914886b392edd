import { Button, Switch, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { agents, skills } from "../api/calls";
import { ApiError } from "../api/client";
import type { SkillView } from "../api/types";
import { Remove } from "../grouping/Remove";
import { bytes } from "../sources/state";
import { inert } from "../text/visible";
import { Form } from "../ui/form";
import { BackIcon, DownloadIcon } from "../ui/icons";
import kit from "../ui/kit.module.css";
import { Card, Empty, LoadingRows, Page, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import { bodyOf, isChanged, main, noEdit, originOf, pathsOf, readersOf, textOf, without, write, writer, wrongPath } from "./skills";
import css from "./skills.module.css";
import { readersText } from "./SkillsPage";
import { Text } from "./Text";
import { Versions } from "./Versions";

/** One skill: its files, who reads it, and what it was before. */
export function SkillPage() {
  const { name } = getRouteApi("/signed-in/skills/$name").useParams();
  const query = useQuery({ queryKey: ["skills", name], queryFn: ({ signal }) => skills.get(name, { signal }) });
  if (query.data) return <Loaded key={name} skill={query.data} />;
  return (
    <Page title={inert(name)}>
      {query.error instanceof ApiError && query.error.status === 404 ? (
        <Empty title="There is no such skill" more={<Link to="/skills">To the skills</Link>} />
      ) : query.error ? (
        <Problem what="The skill could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <Card>
          <LoadingRows />
        </Card>
      )}
    </Page>
  );
}

function Loaded({ skill }: { skill: SkillView }) {
  const mayChange = useMay()("agents.manage");
  const readers = useQuery({ queryKey: ["agents"], queryFn: agents.list });
  const client = useQueryClient();
  const navigate = useNavigate();
  const stored = (now: SkillView) => {
    client.setQueryData(["skills", now.name], now);
    void client.invalidateQueries({ queryKey: ["skills"], exact: true });
    void client.invalidateQueries({ queryKey: ["skills", now.name, "versions"] });
  };
  const enable = useMutation({ mutationFn: (on: boolean) => skills.enable(skill.name, on), onSuccess: stored });
  const origin = originOf(skill);
  return (
    <Page
      title={inert(skill.name)}
      lead={inert(skill.description)}
      action={
        <div className={css.acts}>
          <Button component="a" variant="default" size="compact-sm" leftSection={<DownloadIcon size={14} />} href={skills.archiveURL(skill.name)} download={`${skill.name}.zip`}>
            Download
          </Button>
          {mayChange && (
            <Remove
              name={skill.name}
              remove={() => skills.remove(skill.name)}
              then={async () => {
                await navigate({ to: "/skills" });
                client.removeQueries({ queryKey: ["skills", skill.name] });
                await client.invalidateQueries({ queryKey: ["skills"], exact: true });
              }}
            />
          )}
        </div>
      }
    >
      <nav className={css.back} aria-label="Back">
        <Link to="/skills">
          <BackIcon size={14} /> Skills
        </Link>
      </nav>
      <section className={css.facts} aria-label="State">
        <Switch
          label="Agents get it"
          description="Off keeps it here, and no agent sees it. A change holds from the next investigation on."
          checked={enable.isPending ? enable.variables : skill.enabled}
          disabled={!mayChange}
          onChange={(e) => enable.mutate(e.currentTarget.checked)}
        />
        <p className="dim">
          <Chip tone="quiet" title={origin.means}>
            {origin.word}
          </Chip>{" "}
          version {skill.version} by {inert(writer(skill.author))}, {skill.files === 1 ? "1 file" : `${skill.files} files`}, {bytes(skill.bytes)}.{" "}
          {readers.data && readersText(readersOf(skill.name, readers.data), skill.enabled)}
          {(skill.match ?? []).length > 0 && <> It fits alerts with {inert((skill.match ?? []).join(" or "))}.</>}
        </p>
        {enable.error && <Problem what="It was not changed." error={enable.error} />}
      </section>
      <Editor skill={skill} stored={stored} mayChange={mayChange} />
      <Versions
        name={["skills", skill.name]}
        list={(o) => skills.versions(skill.name, o)}
        read={async (version, o) => textOf((await skills.version(skill.name, version, o)).contents, noEdit, main)}
        use={async (version) => stored(await skills.use(skill.name, version))}
        may={mayChange}
      />
    </Page>
  );
}

function Editor({ skill, stored, mayChange }: { skill: SkillView; stored: (now: SkillView) => void; mayChange: boolean }) {
  // What is current may change while one writes: the edit is of what it began with.
  const [base, setBase] = useState(skill);
  const [seen, setSeen] = useState(skill.version);
  const [edit, setEdit] = useState(noEdit);
  const [chosen, setChosen] = useState(main);
  const [comment, setComment] = useState("");
  const [saved, setSaved] = useState(0);
  const changed = isChanged(edit);
  const begin = (now: SkillView) => {
    setBase(now);
    setEdit(noEdit);
    setComment("");
  };
  if (seen !== skill.version) {
    setSeen(skill.version);
    if (!changed) begin(skill);
  }
  const save = useMutation({
    mutationFn: () => skills.edit(base.name, bodyOf(base.version, edit, comment)),
    onSuccess: (now) => {
      begin(now);
      setSaved(now.version);
      stored(now);
    },
  });
  const paths = pathsOf(base.contents, edit);
  const path = paths.includes(chosen) ? chosen : main;
  const file = base.contents.find((f) => f.path === path);
  const shown = !file?.binary || path in edit.texts;
  return (
    <section className={css.section} aria-label="Files">
      <h2>Files</h2>
      <p className={css.help}>SKILL.md is what an agent reads first: its head names the skill and says what it is for. Other files, such as scripts, it reads when the text tells it to.</p>
      {changed && base.version !== skill.version && (
        <div className={kit.note} role="status">
          Version {skill.version} is the current one now; you edit version {base.version}.{" "}
          <Button variant="default" size="compact-sm" onClick={() => begin(skill)}>
            Discard and show it
          </Button>
        </div>
      )}
      <div className={css.editor}>
        <ul className={css.files} aria-label="Files of the skill">
          {paths.map((p) => (
            <li key={p}>
              <button type="button" aria-current={p === path ? "true" : undefined} onClick={() => setChosen(p)}>
                {inert(p)}
                {p in edit.texts && <span className="faint"> {base.contents.some((f) => f.path === p) ? "changed" : "new"}</span>}
              </button>
            </li>
          ))}
        </ul>
        <Form label={`Edit ${inert(path)}`} submit={() => save.mutate()}>
          {shown ? (
            <Text
              key={path}
              label={inert(path)}
              description={path === main ? "Begins with YAML between two lines of ---, then Markdown." : undefined}
              value={textOf(base.contents, edit, path)}
              onChange={mayChange ? (text) => setEdit(write(base.contents, edit, path, text)) : undefined}
              markdown={/\.(md|markdown)$/i.test(path)}
              maxLength={1_048_576}
            />
          ) : (
            <p className="dim">It is no text, or too long to be shown ({bytes(file?.size ?? 0)}). Download the skill to see it.</p>
          )}
          {mayChange && (
            <>
              {changed && (
                <TextInput
                  label="What you changed"
                  description="One line for those who look at the versions later. It may be empty."
                  value={comment}
                  onChange={(e) => setComment(e.currentTarget.value)}
                  maxLength={300}
                />
              )}
              {save.error && <Problem what="Nothing was saved." error={save.error} />}
              <div className={css.acts}>
                <Button type="submit" loading={save.isPending} disabled={!changed}>
                  Save as a new version
                </Button>
                {changed && (
                  <Button variant="default" onClick={() => begin(skill)}>
                    Discard
                  </Button>
                )}
                {path !== main && (
                  <Button variant="default" onClick={() => setEdit(without(base.contents, edit, path))}>
                    Take the file away
                  </Button>
                )}
                {saved === skill.version && !changed && <span role="status">Saved as version {saved}.</span>}
              </div>
            </>
          )}
        </Form>
      </div>
      {mayChange && (
        <AddFile
          paths={paths}
          add={(p) => {
            setEdit(write(base.contents, edit, p, ""));
            setChosen(p);
          }}
        />
      )}
    </section>
  );
}

function AddFile({ paths, add }: { paths: string[]; add: (path: string) => void }) {
  const [path, setPath] = useState("");
  const wrong = wrongPath(path.trim(), paths);
  return (
    <form
      className={css.add}
      aria-label="Add a file"
      autoComplete="off"
      onSubmit={(e) => {
        e.preventDefault();
        add(path.trim());
        setPath("");
      }}
    >
      <TextInput
        label="Another file"
        description="A text of your own; its path within the skill."
        placeholder="scripts/check.sh"
        value={path}
        onChange={(e) => setPath(e.currentTarget.value)}
        error={wrong || undefined}
        maxLength={200}
        spellCheck={false}
        autoCapitalize="none"
        classNames={{ input: kit.code }}
      />
      <Button type="submit" variant="default" disabled={path.trim() === "" || wrong !== ""}>
        Add
      </Button>
    </form>
  );
}
