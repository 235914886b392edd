import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { deliveries } from "../api/calls";
import { indented } from "../sources/TestEvent";
import { Output } from "../timeline/Output";
import { Ago, LoadingRows, Problem } from "../ui/parts";
import css from "./Alerts.module.css";

/** The body that an alert came with last, as its sender sent it. It is for those who may see deliveries. */
export function Payload({ alert }: { alert: string }) {
  const [open, setOpen] = useState(false);
  const query = useQuery({
    queryKey: ["delivery", "of", alert],
    queryFn: ({ signal }) => deliveries.ofAlert(alert, { signal }),
    enabled: open,
    staleTime: Infinity,
  });
  return (
    <details className={css.raw} onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>As it was sent</summary>
      {open && query.isPending && <LoadingRows rows={3} />}
      {query.error && <Problem what="It cannot be shown." error={query.error} />}
      {query.data && (
        <>
          <p className="faint">
            Arrived <Ago at={query.data.received_at} suffix=" ago" />, {query.data.size.toLocaleString()} bytes{query.data.cut && ", of which the first are shown"}.
          </p>
          <Output text={indented(query.data.body)} name={`delivery-${query.data.id}`} />
        </>
      )}
    </details>
  );
}
