package api

import (
	"fmt"
	"strings"
	"unicode"
)

// markdown writes a document of CommonMark with text from anywhere in it. Such
// text stands in it as what it is: it makes no heading, link, image, mention or
// markup, and has no characters that hide or reorder others. Links are made of
// bare addresses by many readers, whatever is escaped, so words that look like
// one are written as code, which no reader touches.
type markdown struct{ strings.Builder }

// line writes a line as it is: format is ours, and args are escaped already.
func (m *markdown) line(format string, args ...any) {
	fmt.Fprintf(m, format+"\n", args...)
}

// heading writes a heading in our own words, with an empty line above and below.
func (m *markdown) heading(text string) {
	if !strings.HasSuffix(m.String(), "\n\n") {
		m.line("")
	}
	m.line("## %s\n", text)
}

// paragraphs writes text from elsewhere, which may have several.
func (m *markdown) paragraphs(text string) {
	for part := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		if part = inline(part); part != "" {
			m.line("%s\n", part)
		}
	}
}

// block writes text as a block of code.
func (m *markdown) block(text string) {
	text = visible(strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), true)
	fence := strings.Repeat("`", max(3, longestRun(text, '`')+1))
	m.line("%s\n%s\n%s\n", fence, text, fence)
}

// inline gives text from elsewhere for the middle or the beginning of a line.
func inline(text string) string {
	words := strings.Fields(visible(text, false))
	for i, w := range words {
		if linkLike(w) {
			words[i] = code(w)
			continue
		}
		words[i] = escaper.Replace(w)
		if i == 0 {
			words[i] = escapeFirst(words[i])
		}
	}
	return strings.Join(words, " ")
}

// escaper escapes what means something in the middle of a line: of emphasis,
// code, links, images, HTML, entities, tables, strikethrough, formulas. CommonMark
// 0.31, 2.4; GitHub's additions.
var escaper = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "&", `\&`,
	"|", `\|`, "~", `\~`, "$", `\$`, "#", `\#`, "!", `\!`)

// escapeFirst escapes what means something at the beginning of a line: of lists,
// underlines of headings, rules, and what some readers take for front matter.
func escapeFirst(word string) string {
	if strings.IndexAny(word, "-+=:%") == 0 {
		return `\` + word
	}
	digits := strings.TrimLeft(word, "0123456789")
	if n := len(word) - len(digits); n > 0 && (strings.HasPrefix(digits, ".") || strings.HasPrefix(digits, ")")) {
		return word[:n] + `\` + digits
	}
	return word
}

// linkLike says whether a reader may make a link or a mention of a word by itself.
func linkLike(word string) bool {
	word = strings.ToLower(word)
	for _, sign := range []string{"://", "www.", "@", "mailto:", "xmpp:"} {
		if strings.Contains(word, sign) {
			return true
		}
	}
	return false
}

// code gives text from elsewhere as code on one line.
func code(text string) string {
	text = strings.Join(strings.Fields(visible(text, false)), " ")
	if text == "" {
		return ""
	}
	fence := strings.Repeat("`", longestRun(text, '`')+1)
	if strings.HasPrefix(text, "`") || strings.HasSuffix(text, "`") {
		text = " " + text + " "
	}
	return fence + text + fence
}

func longestRun(text string, of rune) (longest int) {
	n := 0
	for _, r := range text {
		if n++; r != of {
			n = 0
		}
		longest = max(longest, n)
	}
	return longest
}

// visible puts a visible name in place of each character that would act, hide or
// reorder others, as the page does. Newlines and tabs are kept if lines is set and
// are blanks otherwise.
func visible(text string, lines bool) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		switch {
		case (r == '\n' || r == '\t') && lines:
			b.WriteRune(r)
		case r == '\n' || r == '\t':
			b.WriteRune(' ')
		case unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029':
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
