import { describe, expect, it } from "vitest";
import type { Incident, Page } from "../api/types";
import { cursorOf, emptyList, leavesHole, mergePage } from "./list";

function page(numbers: number[], next = "", change: Partial<Incident> = {}): Page<Incident> {
  const items = numbers.map((number) => ({ id: `i${number}`, number, title: `t${number}`, ...change }) as Incident);
  return { items, next_cursor: next };
}
const numbers = (list: { items: Incident[] }) => list.items.map((i) => i.number);

describe("mergePage", () => {
  const two = mergePage(mergePage(emptyList, "", page([10, 9, 8], "c8")), "c8", page([7, 6, 5], "c5"));

  it("appends pages", () => {
    expect(numbers(two)).toEqual([10, 9, 8, 7, 6, 5]);
    expect(two.next).toBe("c5");
    expect(cursorOf(two, 6)).toBe("c8");
    expect(cursorOf(two, 10)).toBe("");
  });

  it("takes new ones on top and keeps what is below", () => {
    const list = mergePage(two, "", page([11, 10, 9], "c9"));
    expect(numbers(list)).toEqual([11, 10, 9, 8, 7, 6, 5]);
    expect(list.next).toBe("c5");
  });

  it("drops what has left the filter, in the page's range alone", () => {
    const list = mergePage(two, "", page([10, 8, 7], "c7"));
    expect(numbers(list)).toEqual([10, 8, 7, 6, 5]);
  });

  it("refreshes a page in the middle", () => {
    const list = mergePage(two, "c8", page([7, 5], "c5", { title: "changed" }));
    expect(numbers(list)).toEqual([10, 9, 8, 7, 5]);
    expect(list.items[3]?.title).toBe("changed");
    expect(list.items[0]).toBe(two.items[0]);
  });

  it("ends the list when the first page is all there is", () => {
    const list = mergePage(two, "", page([10]));
    expect(numbers(list)).toEqual([10]);
    expect(list.next).toBe("");
    expect(numbers(mergePage(two, "", page([])))).toEqual([]);
  });

  it("keeps unchanged incidents the same objects", () => {
    expect(mergePage(two, "", page([10, 9, 8], "c8")).items[1]).toBe(two.items[1]);
  });

  it("fills a hole", () => {
    const head = mergePage(two, "", page([14, 13], "c13"));
    expect(numbers(mergePage(head, "c13", page([12, 11, 10], "c10"), 13))).toEqual([14, 13, 12, 11, 10, 9, 8, 7, 6, 5]);
  });

  it("sees a hole after a storm", () => {
    expect(leavesHole(two, page([99, 98], "c98"))).toBe(true);
    expect(leavesHole(two, page([11, 10], "c10"))).toBe(false);
    expect(leavesHole(emptyList, page([99], "c99"))).toBe(false);
    expect(leavesHole(two, page([99, 98]))).toBe(false);
  });
});
