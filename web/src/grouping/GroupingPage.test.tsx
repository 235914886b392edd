import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it, vi } from "vitest";
import { groupingRules } from "../api/calls";
import type { GroupingRule } from "../api/types";
import { GroupingPage } from "./GroupingPage";

vi.mock("../accounts/may", () => ({ useMay: () => () => true }));

const at = new Date(0).toISOString();
const rule = (id: string, position: number, match = ""): GroupingRule => ({ id, name: id, position, enabled: true, match, key: "", window: "", window_seconds: 0, min_severity: "", investigate: true, agent: "", created_at: at, updated_at: at });

beforeEach(async () => {
  vi.spyOn(groupingRules, "list").mockResolvedValue([rule("b", 20), rule("a", 10)]);
  render(
    <MantineProvider>
      <QueryClientProvider client={new QueryClient()}>
        <GroupingPage />
      </QueryClientProvider>
    </MantineProvider>,
  );
  await screen.findByRole("button", { name: "Turn off b" });
  // Somebody else has changed b and added c meanwhile.
  vi.spyOn(groupingRules, "list").mockResolvedValue([rule("b", 20, "host=db"), rule("a", 10), rule("c", 5)]);
});

it.each([
  ["Turn off b", { enabled: false, position: 20 }],
  ["Try b earlier", { enabled: true, position: 7 }],
])("%s leaves what somebody else has changed meanwhile", async (press, want) => {
  const replace = vi.spyOn(groupingRules, "replace").mockResolvedValue(rule("b", 20));
  await userEvent.click(screen.getByRole("button", { name: press }));
  expect(replace).toHaveBeenCalledExactlyOnceWith("b", expect.objectContaining({ match: "host=db", ...want }));
});
