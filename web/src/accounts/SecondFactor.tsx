import { Button, PasswordInput, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useMemo, useState } from "react";
import { encode } from "uqr";
import { totp } from "../api/calls";
import { ApiError } from "../api/client";
import { Made, Once } from "../settings/settings";
import { Ago, Card, LoadingRows, Problem, Snippet } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./accounts.module.css";
import { qrPath } from "./qr";

type Act = "begin" | "codes" | "remove";

/** One's second factor: an authenticator app, and recovery codes for when it is lost. */
export function SecondFactor() {
  const client = useQueryClient();
  const query = useQuery({ queryKey: ["totp"], queryFn: totp.get });
  const [begun, setBegun] = useState<{ secret: string; uri: string } | null>(null);
  const [codes, setCodes] = useState<string[] | null>(null);
  const [asks, setAsks] = useState<Act | null>(null); // what proof is wanted for
  const [sure, setSure] = useState(false);
  const refresh = () => {
    void client.invalidateQueries({ queryKey: ["totp"] });
    void client.invalidateQueries({ queryKey: ["session"] });
    void client.invalidateQueries({ queryKey: ["sessions"] });
  };
  const act = useMutation({
    mutationFn: async ({ what, proof }: { what: Act; proof?: string }) => {
      if (what === "begin") setBegun(await totp.begin(proof));
      else if (what === "codes") setCodes(await totp.newCodes(proof));
      else await totp.remove(proof);
    },
    onSuccess: () => {
      setAsks(null);
      setSure(false);
      refresh();
    },
    onError: (error, { what }) => setAsks(error instanceof ApiError && error.places.includes("body.proof") ? what : null),
  });
  const confirm = useMutation({
    mutationFn: totp.confirm,
    onSuccess: (made) => {
      setBegun(null);
      setCodes(made);
      refresh();
    },
  });
  const state = query.data;
  return (
    <Card label="Second factor">
      <div className={css.section}>
        <h2>
          Second factor {state?.enrolled && <Chip tone="good">On</Chip>} {state?.needed && <Chip tone="warning">Needed to approve</Chip>}
        </h2>
        {query.error && !state ? (
          <Problem what="Your second factor could not be read." error={query.error} retry={() => void query.refetch()} />
        ) : !state ? (
          <LoadingRows rows={2} />
        ) : codes ? (
          <Made title="Your recovery codes" close={() => setCodes(null)}>
            <Once>Keep them where your phone is not. Each lets you in once if you have lost your app. They are shown only now.</Once>
            <Snippet text={codes.join("\n")} label="recovery codes" />
          </Made>
        ) : begun ? (
          <Enrol begun={begun} confirm={confirm} close={() => setBegun(null)} />
        ) : state.enrolled ? (
          <>
            <p className="dim">
              Signing in takes a code of your app since <Ago at={state.confirmed_at} suffix=" ago" />. {state.recovery_left} recovery {state.recovery_left === 1 ? "code is" : "codes are"} left.
            </p>
            <div className={css.buttons}>
              <Button variant="default" loading={act.isPending && act.variables.what === "codes"} onClick={() => act.mutate({ what: "codes" })}>
                New recovery codes
              </Button>
              <Button
                variant={sure ? "filled" : "default"}
                color={sure ? "red" : undefined}
                loading={act.isPending && act.variables.what === "remove"}
                onClick={() => (sure ? act.mutate({ what: "remove" }) : setSure(true))}
                onBlur={() => setSure(false)}
              >
                {sure ? "Really remove it" : "Remove it"}
              </Button>
            </div>
          </>
        ) : (
          <>
            <p className="dim">
              With an authenticator app, whoever learns your password still cannot sign in. {state.needed && "Your roles may approve what agents ask for, which needs one here."}
            </p>
            <div>
              <Button loading={act.isPending} onClick={() => act.mutate({ what: "begin" })}>
                Set up an app
              </Button>
            </div>
          </>
        )}
        {asks && <Prove what={asks} act={(proof) => act.mutate({ what: asks, proof })} busy={act.isPending} />}
        {act.error && <Problem what="That was not done." error={act.error} />}
      </div>
    </Card>
  );
}

function Prove({ what, act, busy }: { what: Act; act: (proof: string) => void; busy: boolean }) {
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    act(String(new FormData(event.currentTarget).get("proof")));
  };
  return (
    <form className={css.buttons} onSubmit={submit} aria-label="Prove that it is you">
      <PasswordInput className={css.proof} name="proof" label={what === "begin" ? "Your password" : "Your password, or a code of your app"} autoComplete="current-password" required maxLength={1024} autoFocus />
      <Button type="submit" loading={busy}>
        Go on
      </Button>
    </form>
  );
}

/** Shows the code to scan, and wants one of the app back. */
function Enrol({ begun, confirm, close }: { begun: { secret: string; uri: string }; confirm: { mutate: (code: string) => void; isPending: boolean; error: unknown }; close: () => void }) {
  const { size, path } = useMemo(() => {
    const { size, data } = encode(begun.uri, { ecc: "M", border: 3 });
    return { size, path: qrPath(data) };
  }, [begun.uri]);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    confirm.mutate(String(new FormData(event.currentTarget).get("code")));
  };
  return (
    <form className={css.enrol} onSubmit={submit} aria-label="Set up an app">
      <svg className={css.qr} viewBox={`0 0 ${size} ${size}`} shapeRendering="crispEdges" role="img" aria-label="QR code for your authenticator app">
        <path d={path} fill="#000" />
      </svg>
      <div className={css.steps}>
        <p>
          <strong>1.</strong> Scan this with an authenticator app, or type the key into it:
        </p>
        <Snippet text={begun.secret} label="the key" wrap />
        <p>
          <strong>2.</strong> Give the code that it shows. All your other sessions end then.
        </p>
        <TextInput className={css.short} name="code" label="Six digits" autoComplete="one-time-code" inputMode="numeric" maxLength={12} required />
        {confirm.error !== null && <Problem what="It is not set up yet." error={confirm.error} />}
        <div className={css.buttons}>
          <Button type="submit" loading={confirm.isPending}>
            Turn it on
          </Button>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
        </div>
      </div>
    </form>
  );
}
