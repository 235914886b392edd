import { expect, it } from "vitest";
import { found } from "./Palette";

it("finds places by how their words begin", () => {
  const places = [
    { to: "/a", label: "Grouping rules" },
    { to: "/b", label: "Users and roles" },
    { to: "/c", label: "Incidents" },
  ];
  const names = (text: string) => found(places, text).map((p) => p.to);
  expect(names("")).toEqual(["/a", "/b", "/c"]);
  expect(names("r")).toEqual(["/a", "/b"]);
  expect(names("RO us")).toEqual(["/b"]);
  expect(names("ules")).toEqual([]);
});
