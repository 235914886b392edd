import { memo } from "react";
import Markdown, { type Components } from "react-markdown";
import gfm from "remark-gfm";
import { inertLines } from "../text/visible";
import css from "./SafeMarkdown.module.css";
import { OutLink, Scroll } from "./parts";

const components: Components = {
  // A picture would be fetched from wherever the text says: its words stay.
  img: ({ alt, src }) => <span className="dim">[picture: {alt || String(src ?? "")}]</span>,
  a: ({ href, children }) => (href ? <OutLink url={href}>{children}</OutLink> : <>{children}</>),
  // Headings of a text inside the page do not outrank the page's own.
  h1: ({ children }) => <p><strong>{children}</strong></p>,
  h2: ({ children }) => <p><strong>{children}</strong></p>,
  h3: ({ children }) => <p><strong>{children}</strong></p>,
  h4: ({ children }) => <p><strong>{children}</strong></p>,
  h5: ({ children }) => <p><strong>{children}</strong></p>,
  h6: ({ children }) => <p><strong>{children}</strong></p>,
  table: ({ children }) => (
    <Scroll label="Table" className={css.table}>
      <table>{children}</table>
    </Scroll>
  ),
  pre: ({ children }) => (
    <Scroll pre label="Code">
      {children}
    </Scroll>
  ),
  th: ({ children }) => <th>{children}</th>,
  td: ({ children }) => <td>{children}</td>,
  input: ({ checked }) => <span>{checked ? "☑" : "☐"}</span>,
};

/** A model's text: paragraphs, lists, tables and code; HTML in it is text, and links say where they lead. */
export const SafeMarkdown = memo(function SafeMarkdown({ text }: { text: string }) {
  return (
    <div className={css.markdown}>
      <Markdown remarkPlugins={[gfm]} components={components}>
        {inertLines(text)}
      </Markdown>
    </div>
  );
});
