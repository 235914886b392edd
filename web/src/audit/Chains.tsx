import { useQuery } from "@tanstack/react-query";
import { audit } from "../api/calls";
import type { AuditChain } from "../api/types";
import { inert } from "../text/visible";
import { Ago, Copy, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import { chains, hex } from "./audit";
import css from "./audit.module.css";

/** Whether each chain is as it was written, as far as this api has looked. */
export function Chains() {
  const query = useQuery({ queryKey: ["audit-chains"], queryFn: audit.chains, refetchInterval: 30_000 });
  if (query.error && !query.data) return <Problem what="Whether the log is unbroken could not be read." error={query.error} retry={() => void query.refetch()} />;
  return (
    <ul className={css.chains} aria-label="Chains" aria-busy={!query.data}>
      {(query.data ?? []).map((c) => (
        <li key={c.chain} className={css.chain} data-state={c.state}>
          <div className={css.chainHead}>
            <strong>{chains[c.chain]}</strong>
            <State chain={c} />
          </div>
          <Said chain={c} />
          {c.hash && (
            <details className={css.proof}>
              <summary>To check it yourself</summary>
              <p>
                <code>akmatori audit verify --keys FILE --anchors FILE</code> trusts neither this page nor the database. The newest hash and the keys, as this api knows them:
              </p>
              <code className={css.hash}>
                {hex(c.hash)} <Copy text={hex(c.hash)} label="Copy the hash" size={22} />
              </code>
              {c.keys.map((k) => (
                <code key={k} className={css.hash}>
                  {k}
                </code>
              ))}
            </details>
          )}
        </li>
      ))}
    </ul>
  );
}

function State({ chain: c }: { chain: AuditChain }) {
  switch (c.state) {
    case "unbroken":
      return <Chip tone="good">Unbroken</Chip>;
    case "broken":
      return <Chip tone="critical">Broken</Chip>;
    case "checking":
      return <Chip tone="info">Being checked</Chip>;
    case "empty":
      return <Chip tone="quiet">Empty</Chip>;
  }
}

function Said({ chain: c }: { chain: AuditChain }) {
  const n = (count: number) => count.toLocaleString("en");
  if (c.state === "broken") {
    return (
      <p role="alert">
        Record {n(c.broken_at ?? 0)} is the first that is not right: {inert(c.reason ?? "")}.
      </p>
    );
  }
  if (c.state === "empty") return <p className="faint">Nothing was recorded in chain {c.chain} yet.</p>;
  return (
    <p className="faint">
      {n(c.records)} {c.records === 1 ? "record" : "records"} in chain {c.chain}
      {c.state === "checking" ? (
        c.verified > 0 && `, ${n(c.verified)} are checked`
      ) : (
        <>
          , checked <Ago at={c.verified_at} suffix=" ago" />
        </>
      )}
      {c.unsigned > 0 && `; the first ${n(c.unsigned)} are from before records were signed`}
    </p>
  );
}
