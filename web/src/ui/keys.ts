/** Every key of the product, by where it works. Keys of one entry stand apart by a blank; "then" makes a sequence. */
export const keys: { where: string; of: [string, string][] }[] = [
  {
    where: "Everywhere",
    of: [
      ["?", "this help"],
      ["Ctrl-K", "go to a page or an incident"],
      ["g then d", "dashboard"],
      ["g then i", "incidents"],
      ["g then a", "approvals"],
      ["g then f", "alerts"],
      ["g then c", "changes"],
      ["g then u", "usage and cost"],
      ["g then h", "system health"],
      ["g then s", "sources"],
      ["g then r", "grouping rules"],
      ["g then m", "maintenance"],
      ["g then t", "targets"],
      ["Escape", "close what is open, choose none"],
    ],
  },
  {
    where: "List of incidents",
    of: [
      ["/", "search"],
      ["j k", "next and previous"],
      ["Enter", "open it"],
      ["x X", "choose it; choose all from the last one to it"],
      ["a", "acknowledge all that are chosen, or this one"],
    ],
  },
  {
    where: "An incident",
    of: [
      ["a", "acknowledge"],
      ["i", "investigate"],
      ["y n", "approve and deny the first waiting call, pressed twice"],
      ["[ ]", "newer and older incident"],
      ["u", "back to the list"],
    ],
  },
  {
    where: "Search in an output",
    of: [["Enter Shift-Enter", "next and previous line that has the words"]],
  },
];
