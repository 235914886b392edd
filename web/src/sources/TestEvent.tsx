import { Button, PasswordInput, Switch } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { sources } from "../api/calls";
import type { Body, Source } from "../api/types";
import { optional } from "../settings/settings";
import { inert } from "../text/visible";
import { Output } from "../timeline/Output";
import { Form } from "../ui/form";
import { Problem } from "../ui/parts";
import css from "./sources.module.css";
import { stepWord } from "./state";

/** Sends a test alert the whole way that a real one goes, and shows how far it came. */
export function TestEvent({ source }: { source: Source }) {
  const client = useQueryClient();
  const test = useMutation({
    mutationFn: (body: Body<"TestEventBody">) => sources.test(source.id, body),
    onSettled: () => {
      void client.invalidateQueries({ queryKey: ["sources"] });
      void client.invalidateQueries({ queryKey: ["incidents"] });
    },
  });
  const submit = (form: FormData) => test.mutate({ resolve: form.has("resolve"), investigate: form.has("investigate"), secret: optional(form, "secret") });
  return (
    <>
      <Form submit={submit} className={css.form}>
        <Switch name="resolve" defaultChecked label="Send its end as well" description="Nothing stays open then." />
        <Switch name="investigate" label="Investigate it" description="The agent looks at the test incident. It costs what an investigation costs." />
        <PasswordInput
          name="secret"
          label="The secret that the sender has"
          description="Only to find out whether it is the right one. It is not kept."
          maxLength={256}
          autoComplete="off"
          className={css.narrow}
        />
        <div>
          <Button type="submit" loading={test.isPending} disabled={!source.enabled}>
            Send a test event
          </Button>
        </div>
      </Form>
      {test.error && <Problem what="No test was made." error={test.error} />}
      {test.data && <Result tested={test.data} />}
    </>
  );
}

function Result({ tested }: { tested: Body<"Tested"> }) {
  return (
    <div className={css.result} role="status">
      <p>
        <strong>{tested.ok ? "Everything went well." : "It did not come all the way."}</strong>{" "}
        {tested.incident_number !== undefined && tested.incident_number > 0 && (
          <Link to="/incidents/$id" params={{ id: String(tested.incident_number) }}>
            To incident {tested.incident_number}
          </Link>
        )}
      </p>
      <ol className={css.way}>
        {tested.steps.map((step, i) => (
          <li key={i} data-ok={step.ok}>
            <span className={step.ok ? css.ok : css.bad}>
              <span aria-hidden="true">{step.ok ? "✓" : "✗"}</span> {stepWord(step.name)}
              <span className="sr-only">{step.ok ? ", went well:" : ", failed:"}</span>
            </span>
            <span>{inert(step.text)}</span>
          </li>
        ))}
      </ol>
      {tested.body && (
        <details>
          <summary>What was sent</summary>
          <Output text={indented(tested.body)} name="test-event" />
        </details>
      )}
    </div>
  );
}

/** JSON on several lines; anything else as it is. */
export function indented(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
