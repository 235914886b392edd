package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeCompose records what docker compose would be asked to do.
type fakeCompose struct {
	calls []string // arguments
	in    string   // standard input of the last run
	out   string   // what run prints
	err   error    // of run
}

func (f *fakeCompose) compose(_ context.Context, in io.Reader, out io.Writer, args ...string) error {
	f.calls = append(f.calls, strings.Join(args, " "))
	if in == nil {
		return nil
	}
	data, err := io.ReadAll(in)
	f.in = string(data)
	if err == nil {
		_, err = io.WriteString(out, f.out)
	}
	return errors.Join(err, f.err)
}

func (f *fakeCompose) cli(t *testing.T, answers []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	w := &world{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: func(string) string { return "" }, compose: f.compose,
		readPassword: func() (string, error) {
			if len(answers) == 0 {
				return "", errors.New("there is no terminal")
			}
			line := answers[0]
			answers = answers[1:]
			return line, nil
		}}
	code = run(t.Context(), w, args)
	return code, out.String(), errs.String()
}

func TestBackup(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "b.age")
	f := &fakeCompose{out: "ciphertext"}
	code, _, stderr := f.cli(t, []string{"a long passphrase", "a long passphrase"}, "backup", file)
	require.Zero(t, code, stderr)
	require.Equal(t, []string{"run --rm -T keys backup"}, f.calls)
	require.Equal(t, "a long passphrase\n", f.in)
	require.NotContains(t, stderr, "a long passphrase")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "ciphertext", string(data))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	code, _, stderr = f.cli(t, []string{"p", "p"}, "backup", file)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "is there already")

	phrase := filepath.Join(t.TempDir(), "p")
	require.NoError(t, os.WriteFile(phrase, []byte("from a file\n"), 0o600))
	code, stdout, stderr := f.cli(t, nil, "backup", "-", "--passphrase-file", phrase)
	require.Zero(t, code, stderr)
	require.Equal(t, "ciphertext", stdout)
	require.Equal(t, "from a file\n", f.in)
}

func TestABackupThatFailsLeavesNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &fakeCompose{out: "half of it", err: errors.New("exit status 1")}
	code, _, stderr := f.cli(t, []string{"p", "p"}, "backup", filepath.Join(dir, "b.age"))
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "exit status 1")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	for name, answers := range map[string][]string{"two": {"one", "another"}, "none": nil} {
		f := &fakeCompose{}
		code, _, stderr := f.cli(t, answers, "backup", filepath.Join(dir, "b.age"))
		require.Equal(t, 1, code, name)
		require.Empty(t, f.calls, stderr)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "b.age")
	require.NoError(t, os.WriteFile(file, []byte("ciphertext"), 0o600))
	f := &fakeCompose{}
	code, _, stderr := f.cli(t, []string{"p"}, "restore", file)
	require.Zero(t, code, stderr)
	require.Equal(t, []string{"stop akmatori-agent akmatori-api mcp-gateway credential-proxy", "run --rm -T keys restore", "up -d --no-recreate"}, f.calls)
	require.Equal(t, "p\nciphertext", f.in)

	f = &fakeCompose{err: errors.New("exit status 1")}
	code, _, stderr = f.cli(t, []string{"p"}, "restore", file)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "docker compose up -d --no-recreate")
	require.Len(t, f.calls, 2)
}
