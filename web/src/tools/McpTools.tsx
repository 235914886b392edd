import { Button, Checkbox, NativeSelect } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { tools } from "../api/calls";
import { inert, inertLines } from "../text/visible";
import { Ago, Empty, Problem, Scroll } from "../ui/parts";
import { Chip } from "../ui/state";
import { changes, commandChoices, type Server, type ServerTool, textArguments, written } from "./draft";
import { Mark, needsLook, stateOf } from "./Mark";
import css from "./tools.module.css";
import { Try } from "./Try";

/** What a server of MCP offers, and what of it somebody has accepted. */
export function McpTools({ server, may }: { server: Server; may: boolean }) {
  const client = useQueryClient();
  const refresh = () => client.invalidateQueries({ queryKey: ["tools"] });
  const ask = useMutation({ mutationFn: () => tools.discover(server.id), onSuccess: refresh });
  const changed = server.tools.filter(needsLook).length;
  return (
    <>
      <div className={css.title}>
        <div>
          <h2>Tools</h2>
          <p className={css.help}>
            What this server says about its tools is a stranger&rsquo;s text: read it before you accept it. A tool that says something else later is hidden until somebody has looked again.
          </p>
          <p className="faint">
            Asked <Ago at={server.checked_at} suffix=" ago" />, and every ten minutes by itself.
          </p>
        </div>
        {may && (
          <Button variant="default" loading={ask.isPending} disabled={!server.enabled} onClick={() => ask.mutate()}>
            Ask it now
          </Button>
        )}
      </div>
      {ask.error && <Problem what="It was not asked." error={ask.error} />}
      {server.problem && (
        <div className={css.banner} role="alert">
          <strong>It does not answer as it should.</strong> {inert(server.problem)}
        </div>
      )}
      {changed > 0 && (
        <div className={css.banner} role="alert">
          <strong>{changed === 1 ? "A tool has changed since it was accepted." : `${changed} tools have changed since they were accepted.`}</strong> No agent has {changed === 1 ? "it" : "them"} until somebody has looked.
        </div>
      )}
      {server.tools.length === 0 && <Empty title="Nothing is known of its tools yet">{may ? "Ask it." : "Somebody who manages the inventory must ask it."}</Empty>}
      <ul>
        {server.tools.map((t) => (
          <Row key={t.name} server={server} tool={t} may={may} refresh={refresh} />
        ))}
      </ul>
    </>
  );
}

function Row({ server, tool, may, refresh }: { server: Server; tool: ServerTool; may: boolean; refresh: () => Promise<unknown> }) {
  const [mutates, setMutates] = useState(tool.mutates);
  const [command, setCommand] = useState(tool.command ?? "");
  const [trying, setTrying] = useState(false);
  const state = stateOf(tool);
  const digest = server.offers[tool.name];
  const change = useMutation({
    mutationFn: (to: { enabled: boolean; accept?: string; mutates?: boolean; command?: string }) => tools.changeTool(server.id, tool.name, to),
    onSuccess: refresh,
  });
  const said = tool.accepted ?? tool.offered;
  const texts = textArguments((tool.offered ?? tool.accepted)?.schema);
  const which = (onChange: (to: string) => void) =>
    (texts.length > 0 || command !== "") && (
      <NativeSelect
        label="Which argument is a shell command?"
        size="xs"
        data={commandChoices(command === "" || command === "-" || texts.includes(command) ? texts : [...texts, command])}
        value={command}
        disabled={change.isPending}
        onChange={(e) => {
          setCommand(e.currentTarget.value);
          onChange(e.currentTarget.value);
        }}
      />
    );
  return (
    <li className={css.row}>
      <div className={css.what}>
        <h3>
          <code>
            {inert(server.name)}__{inert(tool.name)}
          </code>{" "}
          {tool.mutates && <Chip tone="warning">May change things</Chip>} <Mark state={state} />
        </h3>
        {tool.problem && <p className={css.wrong}>{inert(tool.problem)}</p>}
        {state === "changed" ? (
          <Compare before={written(tool.accepted)} after={written(tool.offered)} />
        ) : (
          <>
            <p>{inert(said?.description.split("\n")[0])}</p>
            <details open={state === "new"}>
              <summary>All that it says</summary>
              <Scroll pre label="All that it says" className={css.text}>
                {inertLines(written(said))}
              </Scroll>
            </details>
          </>
        )}
        {tool.accepted_by && <p className="faint">Accepted by {inert(tool.accepted_by)}</p>}
      </div>
      {may && (
        <div className={css.acts}>
          {digest ? (
            <>
              <Checkbox label="May change things" checked={mutates} onChange={(e) => setMutates(e.currentTarget.checked)} />
              {which(() => undefined)}
              <Button variant="default" size="compact-sm" loading={change.isPending} onClick={() => change.mutate({ enabled: true, accept: digest, mutates, command })} aria-label={tool.accepted ? `Accept the change of ${inert(tool.name)}` : `Accept ${inert(tool.name)}`}>
                {tool.accepted ? "Accept the change" : "Accept"}
              </Button>
            </>
          ) : (
            tool.accepted &&
            !tool.gone && (
              <>
                {!tool.mutates && state === "ready" && server.enabled && (
                  <Button variant="default" size="compact-sm" aria-expanded={trying} aria-label={`Try ${inert(tool.name)}`} onClick={() => setTrying(!trying)}>
                    Try
                  </Button>
                )}
                {which((to) => change.mutate({ enabled: tool.enabled, command: to }))}
                <Button variant="default" size="compact-sm" loading={change.isPending} onClick={() => change.mutate({ enabled: !tool.enabled })} aria-label={`Turn ${tool.enabled ? "off" : "on"} ${inert(tool.name)}`}>
                  Turn {tool.enabled ? "off" : "on"}
                </Button>
              </>
            )
          )}
        </div>
      )}
      {change.error && (
        <div className={css.whole}>
          <Problem what="Nothing was changed." error={change.error} />
        </div>
      )}
      {trying && state === "ready" && <Try name={`${server.name}__${tool.name}`} params={[]} />}
    </li>
  );
}

/** What was accepted and what the server says now, line by line. */
function Compare({ before, after }: { before: string; after: string }) {
  const words = { same: "", old: "accepted: ", new: "now: " };
  return (
    <Scroll pre label="What has changed" className={css.text}>
      {changes(before, after).map((l, i) => (
        <span key={i} className={css[l.kind]}>
          <span className={css.sign} aria-hidden="true">
            {{ same: " ", old: "-", new: "+" }[l.kind]}
          </span>
          <span className={css.said}>{words[l.kind]}</span>
          {inert(l.text)}
          {"\n"}
        </span>
      ))}
    </Scroll>
  );
}
