import { Button } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { targets } from "../api/calls";
import type { HostKey, HostKeyScan, Target } from "../api/types";
import { inert } from "../text/visible";
import { Problem } from "../ui/parts";
import css from "./enrol.module.css";

/**
 * The host key of one target, and whether its login works. What a host offers is
 * shown next to what is pinned; a person compares it with the host's own, and
 * says with a second press that it is the same.
 */
export function Enrol({ target, close }: { target: Target; close?: () => void }) {
  const client = useQueryClient();
  const [sure, setSure] = useState("");
  const scan = useMutation({ mutationFn: () => targets.scan(target.id), onSuccess: () => setSure("") });
  const test = useMutation({ mutationFn: () => targets.test(target.id) });
  const accept = useMutation({
    mutationFn: (key: Choice) => targets.accept(target.id, { fingerprint: key.fingerprint, ...(key.keep ? { keep: true } : {}) }),
    onSuccess: () => {
      setSure("");
      test.reset();
      scan.mutate();
      void client.invalidateQueries({ queryKey: ["targets"] });
    },
  });
  const name = inert(target.name);
  const press = (key: Choice) => {
    if (sure === key.fingerprint) accept.mutate(key);
    else setSure(key.fingerprint);
  };
  return (
    <section className={css.box} aria-label={`Connection to ${name}`}>
      <h2>{name}</h2>
      {target.kind === "ssh" && (
        <>
          <h3>Pinned</h3>
          {target.host_keys.length === 0 ? (
            <p>Nothing yet, so nothing logs in to it. Ask the host for its keys, and accept the one that is really its own.</p>
          ) : (
            <ul className={css.keys}>
              {target.host_keys.map((k) => (
                <Line key={k.fingerprint} type={k.type} fingerprint={k.fingerprint} note={k.authority ? "authority that signs host keys" : ""} />
              ))}
            </ul>
          )}
        </>
      )}
      {scan.data && <Offered scan={scan.data} sure={sure} busy={accept.isPending} press={press} />}
      {scan.error && <Problem what="The host did not show its keys." error={scan.error} />}
      {accept.error && <Problem what="Nothing was pinned." error={accept.error} />}
      {test.data && (
        <p className={test.data.ok ? css.good : css.bad} role="status">
          {inert(test.data.message)} ({test.data.took_ms} ms)
        </p>
      )}
      {test.error && <Problem what="The login could not be tried." error={test.error} />}
      <div className={css.buttons}>
        {target.kind === "ssh" && (
          <Button variant="default" loading={scan.isPending} onClick={() => scan.mutate()}>
            {scan.data ? "Ask the host again" : "Ask the host for its keys"}
          </Button>
        )}
        <Button variant="default" loading={test.isPending} onClick={() => test.mutate()}>
          Try the login
        </Button>
        {close && (
          <Button variant="subtle" color="gray" onClick={close}>
            Close
          </Button>
        )}
      </div>
    </section>
  );
}

interface Choice {
  fingerprint: string;
  keep: boolean;
}

const verdicts: Record<HostKeyScan["state"], { title: string; text: string }> = {
  trusted: { title: "The host has proved what is pinned.", text: "" },
  new: {
    title: "These keys are not trusted yet.",
    text: "Somebody in between could show others. Compare the fingerprint with the host's own, on its console or from whoever set it up: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
  },
  changed: {
    title: "The host has another key than the pinned one.",
    text: "Either it was set up anew, or somebody is in between. Until you know which, accept nothing: no login is tried meanwhile.",
  },
};

function Offered({ scan, sure, busy, press }: { scan: HostKeyScan; sure: string; busy: boolean; press: (key: Choice) => void }) {
  const verdict = verdicts[scan.state];
  return (
    <div className={css.offered} data-state={scan.state} role={scan.state === "changed" ? "alert" : "status"}>
      <h3>{verdict.title}</h3>
      {verdict.text && <p>{verdict.text}</p>}
      <ul className={css.keys}>
        {choicesOf(scan).map((k) => (
          <li key={k.fingerprint}>
            <Line as="div" type={k.type} fingerprint={k.fingerprint} note={k.note} />
            {k.pinned ? (
              <span className={css.good}>Pinned</span>
            ) : (
              <Button
                variant={sure === k.fingerprint ? "filled" : "default"}
                color={scan.state === "changed" ? "red" : undefined}
                loading={busy && sure === k.fingerprint}
                onClick={() => press({ fingerprint: k.fingerprint, keep: scan.state === "trusted" })}
              >
                {sure === k.fingerprint ? "I have compared it: pin this key" : scan.state === "changed" ? "Replace the pinned key" : "Accept this key"}
              </Button>
            )}
          </li>
        ))}
      </ul>
    </div>
  );
}

interface Shown {
  type: string;
  fingerprint: string;
  note: string;
  pinned: boolean;
}

/** What can be pinned: each key once, and each authority that has signed one. */
export function choicesOf(scan: { offered: HostKey[]; pinned: { fingerprint: string }[] }): Shown[] {
  const all = new Map<string, Shown>();
  const pinned = new Set(scan.pinned.map((k) => k.fingerprint));
  for (const k of scan.offered) {
    if (!all.has(k.fingerprint)) {
      all.set(k.fingerprint, { type: k.type, fingerprint: k.fingerprint, note: "", pinned: pinned.has(k.fingerprint) });
    }
    if (k.authority && !all.has(k.authority.fingerprint)) {
      const names = (k.principals ?? []).join(", ");
      all.set(k.authority.fingerprint, {
        type: k.authority.type,
        fingerprint: k.authority.fingerprint,
        note: `authority, which has signed its key${names ? ` for ${names}` : ""}`,
        pinned: pinned.has(k.authority.fingerprint),
      });
    }
  }
  return [...all.values()];
}

function Line({ as: Tag = "li", type, fingerprint, note }: { as?: "li" | "div"; type: string; fingerprint: string; note: string }) {
  return (
    <Tag>
      <code>{inert(fingerprint)}</code>
      <span className={css.note}>
        {inert(type)}
        {note && `, ${inert(note)}`}
      </span>
    </Tag>
  );
}
