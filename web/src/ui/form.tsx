import { Button } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { ComponentProps } from "react";
import { Problem } from "./parts";

type FormProps = Omit<ComponentProps<"form">, "aria-label" | "action" | "onSubmit"> & { label?: string; submit: (form: FormData) => unknown };

/** A form that the page sends itself. */
export function Form({ label, submit, ...rest }: FormProps) {
  return (
    <form
      autoComplete="off"
      {...rest}
      aria-label={label}
      onSubmit={(e) => {
        e.preventDefault();
        submit(new FormData(e.currentTarget));
      }}
    />
  );
}

interface EndsProps {
  /** What saves the form. */
  of: { error: unknown; isPending: boolean };
  /** What did not happen when it fails. */
  what?: string;
  save?: string;
  disabled?: boolean;
  close: () => void;
  className: string | undefined;
}

/** How a form ends: what came of saving it, and the two ways out. */
export function Ends({ of, what = "Nothing was saved.", save = "Save", disabled, close, className }: EndsProps) {
  return (
    <>
      {Boolean(of.error) && <Problem what={what} error={of.error} />}
      <div className={className}>
        <Button type="submit" loading={of.isPending} disabled={disabled}>
          {save}
        </Button>
        <Button variant="default" onClick={close}>
          Cancel
        </Button>
      </div>
    </>
  );
}

/** Saves, has the list read anew that it changed, and goes on. */
export function useSave<Answer, What = void>(save: (what: What) => Promise<Answer>, list: string, then?: (answer: Answer) => void) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: save,
    onSuccess: (answer) => {
      then?.(answer);
      return client.invalidateQueries({ queryKey: [list] });
    },
  });
}
