import { ActionIcon, Button } from "@mantine/core";
import { memo, useEffect, useMemo, useRef, useState } from "react";
import { findExcerpt } from "../text/excerpt";
import { outputLines } from "../text/visible";
import { DownloadIcon } from "../ui/icons";
import { Copy } from "../ui/parts";
import css from "./Output.module.css";

/** More lines than this are drawn only when asked for. */
const firstLines = 400;

export interface OutputProps {
  text: string;
  name: string;
  live?: boolean;
  /** Bytes that the output was cut by. */
  truncated?: number;
  /** The words that a citation quotes; their lines are marked. */
  excerpt?: string;
}

/** What a program printed, line by line; nothing in it can act on the page. */
export const Output = memo(function Output({ text, name, live, truncated, excerpt }: OutputProps) {
  const lines = useMemo(() => outputLines(text), [text]);
  const cited = useMemo(() => (excerpt ? findExcerpt(text.replace(/\r\n/g, "\n"), excerpt) : null), [text, excerpt]);
  const [all, setAll] = useState(false);
  const box = useRef<HTMLDivElement>(null);

  // A live tail stays at its end unless the reader has scrolled up in it.
  const stuck = useRef(true);
  useEffect(() => {
    if (live && stuck.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [live, text]);

  const enough = all || live ? lines.length : Math.max(firstLines, cited ? cited.to + 20 : 0);
  if (text === "" && !live) return <div className={`${css.output} ${css.nothing}`}>It printed nothing.</div>;
  return (
    <div className={css.output}>
      <div className={css.tools}>
        <span className="num">
          {live ? "Output so far" : `${lines.length} ${lines.length === 1 ? "line" : "lines"}`}
          {cited && ` · line ${cited.from + 1}${cited.to > cited.from ? `–${cited.to + 1}` : ""} is cited`}
        </span>
        <Copy text={text} label="Copy the output" size={26} />
        <ActionIcon variant="subtle" color="gray" size={26} aria-label="Download the output" title="Download" onClick={() => download(text, name)}>
          <DownloadIcon size={15} />
        </ActionIcon>
      </div>
      <div
        ref={box}
        className={css.scroll}
        data-live={live}
        tabIndex={0}
        role="region"
        aria-label={`Output of ${name}`}
        onScroll={(e) => {
          const el = e.currentTarget;
          stuck.current = el.scrollHeight - el.scrollTop - el.clientHeight < 24;
        }}
      >
        <div className={css.lines} data-output>
          {lines.slice(0, enough).map((pieces, n) => (
            <div key={n} className={css.line} data-n={n + 1} data-cited={cited !== null && n >= cited.from && n <= cited.to ? true : undefined}>
              <span>
                {pieces.length === 0
                  ? " "
                  : pieces.map((piece, i) =>
                      piece.control ? (
                        <span key={i} className="control" title={piece.control}>
                          {piece.text}
                        </span>
                      ) : piece.style ? (
                        <span key={i} className={piece.style}>
                          {piece.text}
                        </span>
                      ) : (
                        piece.text
                      ),
                    )}
              </span>
            </div>
          ))}
        </div>
      </div>
      {enough < lines.length && (
        <div className={css.more}>
          <Button variant="subtle" size="compact-sm" onClick={() => setAll(true)}>
            Show the other {lines.length - enough} lines
          </Button>
        </div>
      )}
      {!!truncated && (
        <div className={css.more}>
          {truncated.toLocaleString()} bytes were left out by the gateway's output limit.
        </div>
      )}
    </div>
  );
});

function download(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${name}.txt`;
  link.click();
  URL.revokeObjectURL(url);
}
