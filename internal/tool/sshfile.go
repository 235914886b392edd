package tool

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Limits of ssh_read_file.
const (
	fileLines    = 500 // if not said
	maxFileLines = 5000
	maxFile      = 128 << 10 // bytes in one call
	maxFileHead  = 8 << 10   // bytes of what the host says about the file
	maxHex       = 1 << 10   // bytes that are shown of what is no text
)

// readCommand opens a file and says which one it is, waits for a word, and then
// prints a part of what it has open. Path and part come on its standard input,
// so that nothing of them is ever read by a shell.
//
// That it is a command, and not the sftp subsystem, is for two reasons. SFTP
// resolves a path by one request and opens it by another, so that a link can be
// changed in between; here the path of the file that is open already is judged,
// and it cannot become another one. And many small hosts have no sftp-server;
// this needs a POSIX shell with readlink, tail, head and a Linux /proc, which
// busybox has too. It is one line without ! and nested quotes: the login shell
// that gets it may be any.
const readCommand = `exec sh -c 'IFS= read -r p || exit 90; [ -e "$p" ] || exit 91; [ -f "$p" ] || exit 92; [ -r "$p" ] || exit 93; ` +
	`exec 3<"$p" || exit 93; r=$(readlink -n /proc/self/fd/3 && echo .) || exit 94; r=${r%.}; ` +
	`case $r in /*) ;; *) exit 94;; esac; case $r in *[[:cntrl:]]*) exit 95;; esac; ` +
	`s=$(stat -L -c %s /proc/self/fd/3 2>/dev/null) || s=-1; printf "%s\n%s\n" "$r" "$s"; ` +
	`IFS=" " read -r m a n c || exit 96; case $m in line) tail -n "+$a" <&3 | head -n "$n" | head -c "$c";; ` +
	`last) tail -n "$a" <&3 | head -c "$c";; byte) tail -c "+$a" <&3 | head -c "$c";; *) exit 96;; esac'`

// readFailures are the exit codes of readCommand.
var readFailures = map[int]string{
	91: "there is no such file, or %s may not look into its folder",
	92: "it is not a regular file: ssh_read_file reads no folder, device or pipe",
	93: "%s may not read it",
	94: "the host cannot say which file it has opened: that needs Linux with /proc, and readlink",
	95: "it leads to a file with a control character in its name",
}

func sshReadFile(pool *Pool) Tool {
	return Tool{
		Name:        "ssh_read_file",
		Description: description("ssh_read_file"),
		Fields: []Field{
			hostField,
			{Name: "path", Type: String, Required: true, MaxLength: 4096, Pattern: regexp.MustCompile(`^/[^\x00-\x1f\x7f]*$`),
				Description: "absolute path of a file"},
			{Name: "from_line", Type: Integer, Min: 1, Max: 1 << 40, Default: 1, Description: "the first line to show; the first line has number 1"},
			{Name: "lines", Type: Integer, Min: 1, Max: maxFileLines, Default: fileLines, Description: "how many lines"},
			{Name: "last_lines", Type: Integer, Min: 1, Max: maxFileLines, Description: "so many lines at the end instead"},
			{Name: "from_byte", Type: Integer, Min: 0, Max: 1 << 50, Description: "from this byte on instead; the first byte has number 0"},
		},
		Target: "target",
		Kind:   "ssh",
		Limit:  func(Args) time.Duration { return defaultTimeout * time.Second },
		Ahead:  pool.Ahead,
		Run: func(ctx context.Context, c Call) (Outcome, error) {
			f, err := newFileRead(c)
			if err != nil {
				return Outcome{}, err
			}
			// What the shell complains of is of no use to anybody.
			out, err := pool.start(ctx, c.Hops, c.Ahead, execution{command: readCommand, talk: f})
			if err != nil {
				return Outcome{}, err
			}
			return f.outcome(out, c)
		},
	}
}

// fileRead is one run of readCommand.
type fileRead struct {
	path  string
	part  string // what is asked for, as readCommand takes it
	lines int64  // that are shown of those that come; 0: all
	first int64  // line
	start int64  // byte, if there is no line
	last  bool
	leads func(path string) error

	speaking sync.Mutex // over in: a host may answer before it is asked
	in       io.WriteCloser

	mu       sync.Mutex // over what follows: a command that is given up may still print
	redactor *Redactor
	head     []byte
	asked    bool // for the part
	refused  error
	real     string
	size     int64
	body     []byte
}

func newFileRead(c Call) (*fileRead, error) {
	f := &fileRead{path: c.Args.String("path"), leads: c.Leads, first: c.Args.Integer("from_line", 1)}
	last, from := c.Args.Integer("last_lines", 0), c.Args.Integer("from_byte", -1)
	switch {
	case last > 0 && (from >= 0 || c.Args["from_line"] != nil || c.Args["lines"] != nil), from >= 0 && (c.Args["from_line"] != nil || c.Args["lines"] != nil):
		return nil, invalid("give from_line and lines, last_lines, or from_byte: one of the three")
	case last > 0:
		f.part, f.last, f.first = fmt.Sprintf("last %d 0 %d\n", last, maxFile+1), true, 0
	case from >= 0:
		f.part, f.start, f.first = fmt.Sprintf("byte %d 0 %d\n", from+1, maxFile+1), from, 0
	default:
		f.lines = c.Args.Integer("lines", fileLines)
		f.part = fmt.Sprintf("line %d %d %d\n", f.first, f.lines+1, maxFile+1)
	}
	return f, nil
}

func (f *fileRead) begin(in io.WriteCloser, r *Redactor) io.Writer {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.in, f.redactor = in, r
	return f
}

// ask names the file.
func (f *fileRead) ask() { f.say(f.path+"\n", false) }

// say tells the command something. That it fails shows in what comes back.
func (f *fileRead) say(text string, last bool) {
	f.speaking.Lock()
	defer f.speaking.Unlock()
	_, _ = io.WriteString(f.in, text)
	if last {
		_ = f.in.Close()
	}
}

// Write takes what the command prints: which file it has open, for which it
// gets the word or not, and then the text.
func (f *fileRead) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked {
		f.body = append(f.body, p[:min(len(p), maxFile+1-len(f.body))]...)
		return len(p), nil
	}
	if f.head = append(f.head, p...); len(f.head) > maxFileHead {
		f.refuse(ops.Errorf(ops.CodeUnavailable, "the host does not say in time which file it has opened"))
		return len(p), nil
	}
	lines := bytes.SplitN(f.head, []byte("\n"), 3)
	if len(lines) < 3 {
		return len(p), nil
	}
	f.real = string(lines[0])
	f.size, _ = strconv.ParseInt(string(lines[1]), 10, 64)
	f.body, f.asked = append(f.body, lines[2]...), true
	if err := f.leads(f.real); err != nil {
		f.refuse(err)
		return len(p), nil
	}
	f.say(f.part, true)
	return len(p), nil
}

// refuse ends the command, which has printed nothing of the file.
func (f *fileRead) refuse(err error) {
	f.asked, f.refused, f.head = true, err, nil
	f.say("", true)
}

// outcome makes the result of what came.
func (f *fileRead) outcome(o Outcome, c Call) (Outcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hop := c.Hops[len(c.Hops)-1]
	switch {
	case f.refused != nil:
		return Outcome{}, f.redactor.Error(f.refused) // it may name the path that the host says
	case o.ExitCode == nil:
		o.Text = ""
		return o, nil
	case *o.ExitCode != 0:
		why, known := readFailures[*o.ExitCode]
		if !known {
			why = "the host's shell or tools cannot do it"
		}
		if strings.Contains(why, "%s") {
			why = fmt.Sprintf(why, hop.Target.User)
		}
		return Outcome{}, ops.Errorf(ops.CodeNotFound, "%s on %s cannot be read: %s", f.path, hop.Target.Name, why)
	}
	out := NewOutput(f.redactor, c.Sink)
	_, _ = io.WriteString(out.stdout(), f.show()) // it never fails
	return out.Close(), nil
}

// show says what of which file this is, and shows it.
func (f *fileRead) show() string {
	body, over := f.body, len(f.body) > maxFile
	if over {
		body = body[:maxFile]
	}
	size := ""
	if f.size >= 0 {
		size = fmt.Sprintf(" of %d bytes", f.size)
	}
	if bytes.IndexByte(body, 0) >= 0 {
		head := []byte(f.redactor.String(string(body)))
		head = head[:min(len(head), maxHex)]
		return fmt.Sprintf("[%s: a file%s that is not text; it begins here with]\n%s", f.real, size, hex.Dump(head))
	}
	if f.lines > 0 { // one more was asked for, to know whether there is one
		if end := endOfLines(body, f.lines); end < len(body) {
			body, over = body[:end], true
		} else if i := bytes.LastIndexByte(body, '\n'); over && i >= 0 {
			body = body[:i+1]
		}
	}
	count := int64(bytes.Count(body, []byte("\n")))
	if len(body) > 0 && body[len(body)-1] != '\n' {
		count++
	}
	var b strings.Builder
	switch {
	case len(body) == 0:
		return fmt.Sprintf("[%s: a file%s; there is nothing from there on]\n", f.real, size)
	case f.last:
		fmt.Fprintf(&b, "[%s: the last %d lines%s]\n", f.real, count, size)
	case f.first == 0:
		fmt.Fprintf(&b, "[%s: bytes %d to %d%s]\n", f.real, f.start, f.start+int64(len(body)), size)
	default:
		fmt.Fprintf(&b, "[%s: lines %d to %d%s]\n", f.real, f.first, f.first+count-1, size)
	}
	b.Write(body)
	if body[len(body)-1] != '\n' {
		b.WriteByte('\n')
	}
	switch {
	case !over:
	case f.last:
		b.WriteString("[what follows is left out: ask for fewer lines]\n")
	case f.first == 0:
		fmt.Fprintf(&b, "[there is more: from_byte %d]\n", f.start+int64(len(body)))
	case bytes.HasSuffix(body, []byte("\n")):
		fmt.Fprintf(&b, "[there is more: from_line %d]\n", f.first+count)
	default:
		b.WriteString("[the line goes on: use from_byte]\n")
	}
	return b.String()
}

// endOfLines is where the first n lines of b end.
func endOfLines(b []byte, n int64) int {
	end := 0
	for range n {
		i := bytes.IndexByte(b[end:], '\n')
		if i < 0 {
			return len(b)
		}
		end += i + 1
	}
	return end
}
