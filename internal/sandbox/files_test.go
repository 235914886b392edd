package sandbox

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func read(f *Folder, name string) (string, error) {
	file, err := f.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(file)
	return string(data), err
}

func names(t *testing.T, f *Folder, below string) (all []string) {
	t.Helper()
	require.NoError(t, f.Walk(below, 1000, func(name string, _ int64) bool { all = append(all, name); return true }))
	return all
}

// What is a file of the folder is found without following a link, whoever has
// put it there; the library alone is behind links.
func TestFiles(t *testing.T) {
	t.Parallel()
	library := filepath.Join(tempDir(t), "library")
	require.NoError(t, os.MkdirAll(filepath.Join(library, "disk", "v1"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(library, "disk", "v1", "SKILL.md"), []byte("how\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(library, "book.md"), []byte("book\n"), 0o644))
	require.NoError(t, os.Symlink("/etc", filepath.Join(library, "disk", "v1", "out")))
	f := folder(t, open(t, func(c *Config) { c.Library = library }), "r1")
	require.NoError(t, f.Put("incident.json", []byte("given")))
	require.NoError(t, f.Put("evidence/c1.txt", []byte("seen")))
	require.Error(t, f.Put("evidence/c1.txt", []byte("again")))
	for _, dir := range []string{"skills", "runbooks"} {
		require.NoError(t, f.Mkdir(dir))
	}
	link := func(target, name string) { require.NoError(t, os.Symlink(target, filepath.Join(f.Dir(), name))) }
	link(filepath.Join(library, "disk", "v1"), "skills/disk")
	link(filepath.Join(library, "book.md"), "runbooks/book.md")
	link("/etc", "skills/evil")
	link(library+"/../..", "skills/up")
	link(filepath.Join(library, "disk"), "evidence/disk") // only below the two

	require.NoError(t, f.Write("work/a/b/notes", []byte("one")))
	require.NoError(t, f.Write("work/a/b/notes", []byte("two")))
	require.Equal(t, "two", run(t, f, "cat a/b/notes; echo more >> a/b/notes").Text, "it is the user's of commands")
	require.Equal(t, "how\n", run(t, f, "cat ../skills/disk/SKILL.md; echo x 2>/dev/null > ../skills/disk/new").Text[:4])
	require.NoFileExists(t, filepath.Join(library, "disk", "v1", "new"))
	run(t, f, "ln -s ../incident.json lnk; ln -s /etc etc; ln -s a dir; mkfifo fifo; ln a/b/notes hard; umask 777; mkdir closed")

	for name, want := range map[string]string{
		"incident.json": "given", "evidence/c1.txt": "seen", "work/a/b/notes": "twomore\n", "work/a/../a/b/notes": "twomore\n",
		"skills/disk/SKILL.md": "how\n", "runbooks/book.md": "book\n",
	} {
		text, err := read(f, name)
		require.NoError(t, err, name)
		require.Equal(t, want, text)
	}
	for name, want := range map[string]string{
		"work/lnk": "symbolic link", "work/etc/hostname": "symbolic link", "work/dir/b/notes": "symbolic link", "work/fifo": "not a regular file", "work": "not a regular file",
		"skills/evil/hostname": "symbolic link", "skills/up/x": "symbolic link", "skills/disk/out/hostname": "symbolic link", "evidence/disk/v1/SKILL.md": "symbolic link",
		"work/none": "no such file", "../r1/incident.json": "no such file", "/etc/hostname": "no such file", "": "no such file", ".": "a folder", "work/" + strings.Repeat("x", 300): "too long",
		strings.Repeat("work/", 40): "too many folders",
	} {
		_, err := read(f, name)
		require.ErrorAs(t, err, new(FileError), name)
		require.ErrorContains(t, err, want, name)
	}
	for name, want := range map[string]string{
		"incident.json": "below work/", "work": "below work/", "work/../incident.json": "below work/", "evidence/c2.txt": "below work/", "/work/x": "below work/",
		"work/lnk": "not a regular file", "work/etc/x": "symbolic link", "work/dir/x": "symbolic link", "work/fifo": "not a regular file", "work/a": "not a regular file",
		"work/a/b/notes/x": "not a folder", "skills/disk/x": "below work/",
	} {
		err := f.Write(name, []byte("bad"))
		require.ErrorAs(t, err, new(FileError), name)
		require.ErrorContains(t, err, want, name)
	}
	// A hard link is not written through.
	require.NoError(t, f.Write("work/hard", []byte("own")))
	text, err := read(f, "work/a/b/notes")
	require.NoError(t, err)
	require.Equal(t, "twomore\n", text)

	require.Equal(t, []string{"work/a/b/notes", "work/hard"}, names(t, f, "work"), "nothing is left of a write, and links are passed over")
	require.Equal(t, []string{"evidence/c1.txt", "incident.json", "runbooks/book.md", "skills/disk/SKILL.md", "work/a/b/notes", "work/hard"}, names(t, f, "."))
	require.ErrorContains(t, f.Walk(".", 5, func(string, int64) bool { return true }), "too many files")
	require.ErrorContains(t, f.Walk("work/etc", 5, func(string, int64) bool { return true }), "symbolic link")
	if os.Geteuid() != 0 {
		_, err = read(f, "work/closed/x")
		require.ErrorContains(t, err, "permissions")
	}
}

// A folder that is exchanged for a link all the time never leads out.
func TestFilesRace(t *testing.T) {
	t.Parallel()
	f := folder(t, open(t), "r1")
	require.NoError(t, f.Put("incident.json", []byte("given")))
	require.NoError(t, f.Write("work/d/incident.json", []byte("inside")))
	work := filepath.Join(f.Dir(), "work")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(filepath.Join(work, "d"), filepath.Join(work, "e"))
			_ = os.Symlink("..", filepath.Join(work, "d"))
			_ = syscall.Unlink(filepath.Join(work, "d"))
			_ = os.Rename(filepath.Join(work, "e"), filepath.Join(work, "d"))
		}
	}()
	for range 2000 {
		if text, err := read(f, "work/d/incident.json"); err == nil {
			require.Equal(t, "inside", text)
		}
		_ = f.Write("work/d/incident.json", []byte("inside"))
	}
	close(stop)
	<-stopped
	text, err := read(f, "incident.json")
	require.NoError(t, err)
	require.Equal(t, "given", text)
}
