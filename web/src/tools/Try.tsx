import { Button, Textarea } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { tools } from "../api/calls";
import { inertLines } from "../text/visible";
import { Form } from "../ui/form";
import { Problem, Scroll } from "../ui/parts";
import { Chip } from "../ui/state";
import { type Param, readArguments, sample } from "./draft";
import css from "./tools.module.css";

/** Uses a tool that changes nothing, by the way that an agent's calls go. */
export function Try({ name, params }: { name: string; params: Param[] }) {
  const [text, setText] = useState(() => sample(params));
  const read = readArguments(text);
  const run = useMutation({ mutationFn: (args: Record<string, unknown>) => tools.test({ tool: name, arguments: args }) });
  return (
    <Form className={css.trial} label="Try it" submit={() => "args" in read && run.mutate(read.args)}>
      <Textarea label="Arguments" value={text} onChange={(e) => setText(e.currentTarget.value)} autosize minRows={2} maxRows={10} spellCheck={false} error={"wrong" in read && read.wrong} classNames={{ input: css.mono }} />
      <div className={css.buttons}>
        <Button type="submit" variant="default" loading={run.isPending} disabled={"wrong" in read}>
          Send it
        </Button>
        <span className="faint">Through the gateway, with the credential, and recorded.</span>
      </div>
      {run.error && <Problem what="There is no answer." error={run.error} />}
      {run.data && (
        <div role="status">
          <Chip tone={run.data.state === "done" ? "good" : "critical"}>{run.data.state === "done" ? "Done" : "Failed"}</Chip>
          <Scroll pre label="The answer" className={css.text}>
            {inertLines(run.data.text)}
          </Scroll>
        </div>
      )}
    </Form>
  );
}
