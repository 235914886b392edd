import { describe, expect, it } from "vitest";
import type { HostKey } from "../api/types";
import { choicesOf } from "./Enrol";

const key = (over: Partial<HostKey>): HostKey => ({ type: "ssh-ed25519", fingerprint: "SHA256:a", key: "ssh-ed25519 AAAA", pinned: false, ...over });

describe("what of a scan can be pinned", () => {
  it("shows each key once, in the order of the host", () => {
    const shown = choicesOf({ offered: [key({}), key({ type: "ssh-rsa", fingerprint: "SHA256:b" }), key({})], pinned: [] });
    expect(shown.map((k) => k.fingerprint)).toEqual(["SHA256:a", "SHA256:b"]);
    expect(shown.every((k) => !k.pinned)).toBe(true);
  });

  it("knows a key by what is pinned, and not by the certificate that it is in", () => {
    const ca = key({ fingerprint: "SHA256:ca" });
    const offered = [key({ pinned: true, authority: ca, principals: ["db-1"] })];
    const shown = choicesOf({ offered, pinned: [{ fingerprint: "SHA256:ca" }] });
    expect(shown.map((k) => [k.fingerprint, k.pinned])).toEqual([
      ["SHA256:a", false],
      ["SHA256:ca", true],
    ]);
    expect(shown[1]?.note).toContain("db-1");
  });
});
