import { encode } from "uqr";
import { expect, it } from "vitest";
import { qrPath } from "./qr";

it("draws each row of dark modules in runs", () => {
  expect(qrPath([])).toBe("");
  expect(
    qrPath([
      [true, true, false, true],
      [false, false, false, false],
      [false, true, true, true],
    ]),
  ).toBe("M0 0h2v1h-2zM3 0h1v1h-1zM1 2h3v1h-3z");
});

it("covers exactly the dark modules of a real code", () => {
  const { data } = encode("otpauth://totp/Akmatori:ann?secret=JBSWY3DPEHPK3PXP&issuer=Akmatori");
  const dark = data.flat().filter(Boolean).length;
  const drawn = [...qrPath(data).matchAll(/h(\d+)v1/g)].reduce((sum, [, n]) => sum + Number(n), 0);
  expect(drawn).toBe(dark);
});
