import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { incidents } from "../api/calls";
import type { Incident } from "../api/types";
import { ChangeForm } from "./Changes";

it("sends what the person has changed, and not what an alert has changed meanwhile", async () => {
  const incident = { id: "i1", number: 1, title: "Disk is filling", severity: "warning", status: "triggered" } as Incident;
  const edit = vi.spyOn(incidents, "edit").mockResolvedValue(incident);
  const client = new QueryClient();
  const form = (of: Incident) => (
    <MantineProvider>
      <QueryClientProvider client={client}>
        <ChangeForm change="edit" incident={of} close={() => {}} />
      </QueryClientProvider>
    </MantineProvider>
  );
  const { rerender } = render(form(incident));
  rerender(form({ ...incident, title: "Disk is full", severity: "critical" }));
  await userEvent.type(screen.getByLabelText("Description"), "of db-1");
  await userEvent.click(screen.getByRole("button", { name: "Save" }));
  expect(edit).toHaveBeenCalledExactlyOnceWith("i1", { description: "of db-1" });
});
