package tool_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/stretchr/testify/require"
)

// named gives the tool of that name.
func named(t testing.TB, p *tool.Pool, name string) tool.Tool {
	t.Helper()
	for _, one := range tool.Table(p, nil) {
		if one.Name == name {
			return one
		}
	}
	t.Fatalf("there is no tool %s", name)
	return tool.Tool{}
}

func TestOpenSSHReadFile(t *testing.T) {
	t.Parallel()
	s := sshtest.New(t)
	p := newPool(t)
	h := hop(s.Target("demo"), s.Key, nil)
	reader := named(t, p, "ssh_read_file")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	var led []string
	read := func(path, more string) string {
		t.Helper()
		raw := fmt.Sprintf(`{"target":"demo","path":%q%s}`, path, more)
		args, err := reader.Parse([]byte(raw))
		require.NoError(t, err, raw)
		led = nil
		out, err := reader.Run(t.Context(), tool.Call{Args: args, Hops: []tool.Hop{h}, Leads: func(real string) error {
			led = append(led, real)
			if strings.Contains(real, "secret") {
				return ops.Errorf(ops.CodeForbidden, "it leads to %s", real)
			}
			return nil
		}})
		if err != nil {
			require.Empty(t, out.Text)
			return ops.MessageOf(err)
		}
		return out.Text
	}
	var numbered strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&numbered, "line %d\n", i+1)
	}
	log := put("app.log", numbered.String())
	size := numbered.Len()

	require.Equal(t, fmt.Sprintf("[%s: lines 2 to 3 of %d bytes]\nline 2\nline 3\n[there is more: from_line 4]\n", log, size), read(log, `,"from_line":2,"lines":2`))
	require.Equal(t, []string{log}, led)
	require.Equal(t, fmt.Sprintf("[%s: lines 9999 to 10000 of %d bytes]\nline 9999\nline 10000\n", log, size), read(log, `,"from_line":9999`))
	require.Equal(t, fmt.Sprintf("[%s: the last 2 lines of %d bytes]\nline 9999\nline 10000\n", log, size), read(log, `,"last_lines":2`))
	require.Equal(t, fmt.Sprintf("[%s: bytes %d to %d of %d bytes]\n10000\n", log, size-6, size, size), read(log, fmt.Sprintf(`,"from_byte":%d`, size-6)))
	require.Contains(t, read(log, `,"from_line":10001`), "there is nothing from there on")
	require.Contains(t, read(log, ""), "line 500\n[there is more: from_line 501]\n")
	require.Contains(t, read(log, `,"last_lines":2,"from_byte":3`), "one of the three")
	require.Equal(t, fmt.Sprintf("[%s: a file of 0 bytes; there is nothing from there on]\n", put("empty", "")), read(filepath.Join(dir, "empty"), ""))
	require.Contains(t, read("/proc/self/status", ""), "Name:")

	// Much is capped, at the end of a line if there is one.
	wide := put("wide", strings.Repeat(strings.Repeat("w", 999)+"\n", 500))
	got := read(wide, "")
	require.Equal(t, 131, strings.Count(got, strings.Repeat("w", 999)+"\n"))
	require.True(t, strings.HasSuffix(got, "[there is more: from_line 132]\n"))
	one := put("one-line", strings.Repeat("x", 200<<10))
	require.True(t, strings.HasSuffix(read(one, ""), "x\n[the line goes on: use from_byte]\n"))
	require.True(t, strings.HasSuffix(read(one, `,"from_byte":5`), fmt.Sprintf("x\n[there is more: from_byte %d]\n", 5+131072)))

	// What leads elsewhere is judged by where it leads, and nothing of it is sent.
	hidden := put("secret", "the crown jewels\n")
	require.NoError(t, os.Symlink(hidden, filepath.Join(dir, "innocent.log")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	require.NoError(t, os.Symlink("..", filepath.Join(dir, "sub", "up")))
	for _, path := range []string{"innocent.log", "sub/up/secret", "sub/../secret", "secret"} {
		require.Equal(t, "it leads to "+hidden, read(dir+"/"+path, ""), path)
		require.Equal(t, []string{hidden}, led)
	}
	require.NotContains(t, s.Log(), "jewels")
	require.Contains(t, read(dir+"/sub/up/app.log", `,"lines":1`), "["+log+": lines 1 to 1")

	// Nothing in a name is read by a shell, and nothing else is opened.
	odd := put("a b'c$(touch x)`id`;\"*?", "odd\n")
	require.Equal(t, "["+odd+": lines 1 to 1 of 4 bytes]\nodd\n", read(odd, ""))
	require.Contains(t, read(dir+"/*", ""), "there is no such file")
	require.Contains(t, read(dir+"/$(echo app.log)", ""), "there is no such file")
	require.Contains(t, read(dir, ""), "not a regular file")
	require.Contains(t, read("/dev/null", ""), "not a regular file")
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	require.Contains(t, read(dir+"/fifo", ""), "not a regular file")
	newline := put("line\nbreak", "x\n")
	require.NoError(t, os.Symlink(newline, filepath.Join(dir, "to-newline")))
	require.Contains(t, read(dir+"/to-newline", ""), "a control character in its name")
	require.Empty(t, led)
	for _, bad := range []string{"relative", "~/x", "/a\nb", "/a\x00b", ""} {
		_, err := reader.Parse([]byte(fmt.Sprintf(`{"target":"demo","path":%q}`, bad)))
		require.Error(t, err, bad)
	}

	// What is no text is shown as such; a key of ours in no form.
	binary := make([]byte, 4000)
	_, _ = rand.Read(binary[100:])
	got = read(put("binary", "\x7fELF\x02\x00"+string(binary)), "")
	require.Contains(t, got, "a file of 4006 bytes that is not text")
	require.Contains(t, got, "00000000  7f 45 4c 46 02 00")
	require.Less(t, len(got), 6000)
	require.NotContains(t, got, "\x7f")
	got = read(s.KeyFile, "")
	require.Contains(t, got, ops.Redacted)
	require.NotContains(t, got, strings.Split(s.Key.Reveal(), "\n")[2])
	require.Equal(t, "["+dir+"/escapes: lines 1 to 1 of 17 bytes]\nred text\n", read(put("escapes", "\x1b[31mred\x1b[0m text"), ""))
}
