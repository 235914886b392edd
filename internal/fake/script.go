package fake

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/casefile"
)

// HostOf answers for a host of a case: its commands, and its files for
// ssh_read_file, whose command asks for a path on its standard input.
func HostOf(h casefile.Host) Answer {
	return func(ctx context.Context, command string, stdin io.Reader, stdout, _ io.Writer) uint32 {
		if strings.HasPrefix(command, "exec sh -c 'IFS= read -r p ") {
			return readFile(h, bufio.NewReader(io.LimitReader(stdin, 64<<10)), stdout)
		}
		c := h.Answer(command)
		if !wait(ctx, time.Duration(c.DelayMS)*time.Millisecond) {
			return 137
		}
		_, _ = io.WriteString(stdout, c.Output)
		return uint32(c.Exit)
	}
}

// readFile speaks as the command of ssh_read_file does (internal/tool/sshfile.go):
// it hears a path, says which file that is and how long, and hears which part to print.
func readFile(h casefile.Host, in *bufio.Reader, out io.Writer) uint32 {
	path, err := in.ReadString('\n')
	if err != nil {
		return 90
	}
	path = strings.TrimSuffix(path, "\n")
	text, ok := h.Files[path]
	if !ok {
		if c := h.Answer("cat " + path); c.Exit == 0 {
			text, ok = c.Output, true
		}
	}
	if !ok {
		return 91
	}
	_, _ = fmt.Fprintf(out, "%s\n%d\n", path, len(text))
	part, err := in.ReadString('\n')
	words := strings.Fields(part)
	if err != nil || len(words) < 3 {
		return 96
	}
	lines := strings.SplitAfter(text, "\n")
	a, _ := strconv.Atoi(words[1])
	n, _ := strconv.Atoi(words[2])
	switch words[0] {
	case "line":
		first := min(max(a-1, 0), len(lines))
		text = strings.Join(lines[first:min(first+n, len(lines))], "")
	case "last":
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		text = strings.Join(lines[max(0, len(lines)-a):], "")
	case "byte":
		text = text[min(max(a-1, 0), len(text)):]
	}
	_, _ = io.WriteString(out, text)
	return 0
}
