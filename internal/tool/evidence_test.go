package tool

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

// shelf is evidence as a database would keep it.
type shelf struct {
	calls  []ops.ToolCall
	texts  map[string]string
	chunks map[string][]ops.EvidenceChunk
}

func (s *shelf) past() Past {
	return Past{
		Calls: func(context.Context) ([]ops.ToolCall, error) { return s.calls, nil },
		Text: func(_ context.Context, call string) (string, error) {
			text, ok := s.texts[call]
			if !ok {
				return "", ops.Errorf(ops.CodeNotFound, "there is no such call %s", call)
			}
			return text, nil
		},
		Chunks: func(_ context.Context, call string) ([]ops.EvidenceChunk, error) { return s.chunks[call], nil },
		Data: func(_ context.Context, call string, n int) ([]byte, error) {
			return s.chunks[call][n].Data, nil
		},
	}
}

// print is a call that has printed text.
func (s *shelf) print(t *testing.T, id, text string, r *Redactor) Outcome {
	t.Helper()
	out := NewOutput(r, Sink{Keep: func(c ops.EvidenceChunk) error {
		s.chunks[id] = append(s.chunks[id], c)
		return nil
	}})
	for rest := text; rest != ""; {
		n := min(len(rest), 32<<10-7)
		_, err := out.stdout().Write([]byte(rest[:n]))
		require.NoError(t, err)
		rest = rest[n:]
	}
	o := out.Close()
	s.texts[id] = o.Text
	s.calls = append(s.calls, ops.ToolCall{ID: id, Tool: "ssh_execute", Target: "db-1", State: ops.CallDone})
	return o
}

func (s *shelf) use(t *testing.T, tool Tool, arguments string) string {
	t.Helper()
	args, err := tool.Parse([]byte(arguments))
	require.NoError(t, err)
	out, err := tool.Run(t.Context(), Call{Args: args, Past: s.past()})
	if err != nil {
		return ops.MessageOf(err)
	}
	return out.Text
}

func (s *shelf) all(t *testing.T, id string) string {
	t.Helper()
	var b strings.Builder
	line := int64(1)
	for i, c := range s.chunks[id] {
		text, err := c.Text()
		require.NoError(t, err)
		require.Equal(t, ops.EvidenceChunk{N: i, Start: int64(b.Len()), Size: len(text), Line: line, Lines: strings.Count(text, "\n"), Data: c.Data}, c)
		require.LessOrEqual(t, c.Size, chunkSize)
		b.WriteString(text)
		line += int64(c.Lines)
	}
	return b.String()
}

func newShelf() *shelf {
	return &shelf{texts: map[string]string{}, chunks: map[string][]ops.EvidenceChunk{}}
}

// numbered gives lines "line 1" and so on.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %d of the long log\n", i+1)
	}
	return b.String()
}

func TestEvidenceIsWhole(t *testing.T) {
	t.Parallel()
	secret := "correct-horse-battery"
	for name, text := range map[string]string{
		"short":               numbered(100),
		"as long as a result": strings.Repeat("x", chunkSize),
		"one more":            strings.Repeat("x", chunkSize+1),
		"lines":               numbered(40_000),
		"no end of line":      strings.TrimSuffix(numbered(40_000), "\n"),
		"one line":            strings.Repeat("é", chunkSize),
		"long lines":          strings.Repeat(strings.Repeat("y", chunkSize+100)+"\n", 3),
		"empty lines":         strings.Repeat("\n", 3*chunkSize),
	} {
		s := newShelf()
		out := s.print(t, "c1", text, nil)
		if len(text) <= chunkSize {
			require.Empty(t, s.chunks, name)
			require.Equal(t, text, out.Text, name)
			require.Empty(t, out.Kept.Note("c1"), name)
			continue
		}
		require.Equal(t, text, s.all(t, "c1"), name)
		require.Equal(t, Kept{Size: int64(len(text)), Whole: int64(len(text)), Lines: int64(strings.Count(text, "\n"))}, out.Kept, name)
		require.Contains(t, out.Kept.Note("c1"), "evidence_read and evidence_search read them as call c1")
	}
	// What the result does not show, the evidence does not have either.
	s := newShelf()
	s.print(t, "c1", numbered(9000)+"\x1b[31mthe key is "+secret+"\u202e!\x1b[0m\n"+numbered(9000), NewRedactor(ops.NewSecret(secret)))
	require.Contains(t, s.all(t, "c1"), "the key is "+ops.Redacted+"!\n")
	require.NotContains(t, s.all(t, "c1"), secret)
}

func TestEvidenceIsBounded(t *testing.T) {
	t.Parallel()
	// Random text hardly gets shorter. Most of what may be stored is stored already.
	random := make([]byte, 2<<20)
	_, _ = rand.Read(random)
	text := base64.StdEncoding.EncodeToString(random)
	for name, o := range map[string]*Output{
		"compressed": {record: recorder{stored: maxStored - 5*chunkSize}},
		"text":       {record: recorder{kept: Kept{Size: maxKept - 5*chunkSize, Whole: maxKept - 5*chunkSize}}},
	} {
		had, stored, kept := o.record.kept.Size, o.record.stored, int64(0)
		o.record.keep = func(c ops.EvidenceChunk) error {
			require.Equal(t, had+kept, c.Start)
			kept += int64(c.Size)
			stored += int64(len(c.Data))
			return nil
		}
		o.redact = (*Redactor)(nil).stream(func(p []byte) { o.record.add(p) })
		_, err := o.stdout().Write([]byte(text))
		require.NoError(t, err)
		out := o.Close()
		require.LessOrEqual(t, stored, int64(maxStored), name)
		require.LessOrEqual(t, out.Kept.Size, int64(maxKept), name)
		require.Greater(t, kept, int64(3*chunkSize), name)
		require.Less(t, kept, int64(len(text)), name)
		require.Equal(t, had+kept, out.Kept.Size, name)
		require.Contains(t, out.Kept.Note("c1"), fmt.Sprintf("The first %d of %d bytes", had+kept, had+int64(len(text))), name)
	}

	// What cannot be stored is said, and costs the call nothing else.
	for fails := range 2 {
		calls := 0
		o := NewOutput(nil, Sink{Keep: func(ops.EvidenceChunk) error {
			if calls++; calls > fails {
				return errors.New("the database is away")
			}
			return nil
		}})
		_, err := o.stdout().Write([]byte(numbered(40_000)))
		require.NoError(t, err)
		out := o.Close()
		require.Equal(t, fails+1, calls, "it is tried again")
		require.True(t, strings.HasSuffix(out.Text, "line 40000 of the long log\n"))
		if fails == 0 {
			require.Contains(t, out.Kept.Note("c1"), "could not be stored")
		} else {
			require.Contains(t, out.Kept.Note("c1"), "What follows is not kept: storing them failed")
		}
	}
}

func TestEvidenceRead(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.print(t, "c1", numbered(40_000), nil)
	s.print(t, "c2", "only\ntwo lines", nil)
	s.print(t, "c3", strings.Repeat("é", chunkSize)+"\nshort\n", nil)
	s.print(t, "c4", "", nil)
	read := evidenceRead()

	got := s.use(t, read, `{"call":"c1","from_line":20000,"lines":2}`)
	at, size := strings.Index(numbered(40_000), "line 20000 "), len(numbered(40_000))
	require.Equal(t, fmt.Sprintf("[call c1: lines 20000 to 20001 of 40000, bytes %d to %d of %d]", at, at+54, size)+"\nline 20000 of the long log\nline 20001 of the long log\n[there is more: from_line 20002]\n", got)
	require.Contains(t, s.use(t, read, `{"call":"c1","from_line":39999}`), "line 39999 of the long log\nline 40000 of the long log\n[this is the end]\n")
	require.Contains(t, s.use(t, read, `{"call":"c1","from_line":40001}`), fmt.Sprintf("there is nothing from there on; it has %d bytes in 40000 lines", size))
	// Every line once, however it is paged.
	var all strings.Builder
	for next := int64(1); next > 0; {
		text := s.use(t, read, fmt.Sprintf(`{"call":"c1","from_line":%d,"lines":2000}`, next))
		require.Less(t, len(text), maxPage+500)
		head, rest, _ := strings.Cut(text, "\n")
		require.Contains(t, head, fmt.Sprintf("lines %d to ", next))
		i := strings.LastIndex(strings.TrimSuffix(rest, "\n"), "\n") + 1
		all.WriteString(rest[:i])
		next = 0
		_, _ = fmt.Sscanf(rest[i:], "[there is more: from_line %d]", &next)
	}
	require.Equal(t, numbered(40_000), all.String())

	// Without chunks it is the result.
	require.Equal(t, "[call c2: lines 1 to 2 of 2, bytes 0 to 14 of 14]\nonly\ntwo lines\n[this is the end]\n", s.use(t, read, `{"call":"c2"}`))
	require.Contains(t, s.use(t, read, `{"call":"c4"}`), "there is nothing from there on")
	require.Contains(t, s.use(t, read, `{"call":"c9"}`), "there is no such call")
	require.Contains(t, s.use(t, read, `{"call":"c1","from_line":2,"from_byte":7}`), "and not both")

	// A line that is longer than a page goes on by bytes.
	all.Reset()
	for at := int64(0); at >= 0; {
		text := s.use(t, read, fmt.Sprintf(`{"call":"c3","from_byte":%d}`, at))
		_, rest, _ := strings.Cut(text, "\n")
		i := strings.LastIndex(strings.TrimSuffix(rest, "\n"), "\n") + 1
		part := rest[:i]
		at = -1
		if _, err := fmt.Sscanf(rest[i:], "[the line goes on: from_byte %d]", &at); err == nil {
			part = strings.TrimSuffix(part, "\n")
		}
		all.WriteString(part)
	}
	require.Equal(t, strings.Repeat("é", chunkSize)+"\nshort\n", all.String())
	require.Contains(t, s.use(t, read, `{"call":"c3","from_line":2}`), "]\nshort\n[this is the end]")
}

func TestEvidenceSearch(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.print(t, "c1", numbered(20_000)+"ERROR: out (of) memory\n"+numbered(20_000), nil)
	s.print(t, "c2", "fine\nerror: disk\nfine\n", nil)
	s.print(t, "c3", strings.Repeat("x", 5000)+"needle"+strings.Repeat("é", 5000)+"\n", nil)
	s.print(t, "c4", "error that nobody may find twice\n", nil)
	s.calls[3].Tool = "evidence_read"
	s.calls = append(s.calls, ops.ToolCall{ID: "c5", Tool: "ssh_execute", State: ops.CallUnknown}) // it has no result
	find := evidenceSearch()

	require.Equal(t, "[call c1, ssh_execute on db-1]\n20001: ERROR: out (of) memory\n[call c2, ssh_execute on db-1]\n2: error: disk\n", s.use(t, find, `{"pattern":"error","ignore_case":true}`))
	require.Equal(t, "[call c1]\n20000- line 20000 of the long log\n20001: ERROR: out (of) memory\n20002- line 1 of the long log\n",
		s.use(t, find, `{"pattern":"out (of)","literal":true,"call":"c1","context":1}`))
	require.True(t, strings.HasPrefix(s.use(t, find, `{"pattern":"line 1[01] ","call":"c1","context":1,"max_matches":3}`), "[call c1]\n"+
		"9- line 9 of the long log\n10: line 10 of the long log\n11: line 11 of the long log\n12- line 12 of the long log\n--\n"+
		"20010- line 9 of the long log\n20011: line 10 of the long log\n"))
	long := s.use(t, find, `{"pattern":"needle"}`)
	require.Contains(t, long, "xneedleé")
	require.Less(t, len(long), 600)
	require.Equal(t, "no line of 4 calls matches\n", s.use(t, find, `{"pattern":"nobody"}`))
	require.Contains(t, s.use(t, find, `{"pattern":"("}`), "pattern is not a regular expression: missing closing )")
	require.Contains(t, s.use(t, find, `{"pattern":"x","call":"c5"}`), "there is no such call")
	many := s.use(t, find, `{"pattern":"line","max_matches":200,"context":20}`)
	require.Equal(t, 200, strings.Count(many, ": line"))
	require.True(t, strings.HasSuffix(many, "[there may be more matches: narrow the pattern, or name the call]\n"))
}

// FuzzEvidence: whatever is printed, the chunks have all of it, and from every
// line there is a page.
func FuzzEvidence(f *testing.F) {
	f.Add("a\nb\n", 70_000, int64(3))
	f.Add("é", 300_000, int64(1))
	f.Fuzz(func(t *testing.T, text string, times int, line int64) {
		if text == "" || times < 1 || len(text)*times > 4*chunkSize {
			return
		}
		s := newShelf()
		out := s.print(t, "c1", strings.Repeat(text, times), nil)
		if len(s.chunks) > 0 {
			require.Len(t, s.all(t, "c1"), int(out.Kept.Whole))
		}
		r, err := s.past().of(t.Context(), "c1")
		require.NoError(t, err)
		_, lines := r.end()
		p, err := r.page(t.Context(), max(1, line), -1, 10)
		require.NoError(t, err)
		require.LessOrEqual(t, len(p.text), maxPage)
		if line > 0 && line <= lines {
			require.NotEmpty(t, p.text)
			require.Equal(t, line, p.line)
		}
	})
}
