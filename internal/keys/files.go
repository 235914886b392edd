package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/akmatori/akmatori/internal/ops"
)

const (
	fileMode   = 0o400
	folderMode = 0o500
	maxFile    = 64 << 10
)

// read reads all of a set and checks who owns it and who can get at it.
func (c Config) read(set int) (map[string]ops.Secret, error) {
	files := map[string]ops.Secret{}
	var wrong []string
	checked := map[string]bool{}
	for _, f := range c.files() {
		if f.since > set {
			continue
		}
		if folder := filepath.Dir(c.path(f.name)); !checked[folder] {
			checked[folder] = true
			if err := c.inspect(folder, f.uid, fs.ModeDir|folderMode); err != nil {
				wrong = append(wrong, err.Error())
			}
		}
		content, err := c.readFile(f)
		if err != nil {
			wrong = append(wrong, err.Error())
		}
		files[f.name] = content
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("secrets: %s", strings.Join(wrong, "; "))
	}
	return files, nil
}

func (c Config) readFile(f file) (ops.Secret, error) {
	if err := c.inspect(c.path(f.name), f.uid, fileMode); err != nil {
		return ops.Secret{}, err
	}
	r, err := os.Open(c.path(f.name))
	if err != nil {
		return ops.Secret{}, err
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is too long", f.name)
	}
	return ops.NewSecret(strings.TrimSuffix(string(data), "\n")), err
}

// inspect compares what is at path with what must be there.
func (c Config) inspect(path string, uid int, mode fs.FileMode) error {
	info, err := os.Lstat(path) // a link is not what was made
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return fmt.Errorf("%s: this system does not say who owns it", path)
	case int(st.Uid) != uid:
		return fmt.Errorf("%s belongs to UID %d, not %d: if nobody else has read it, chown it", path, st.Uid, uid)
	case info.Mode() != mode:
		return fmt.Errorf("%s has mode %v, not %v: if nobody else has read it, chmod it", path, info.Mode(), mode)
	}
	return nil
}

// write writes the first set: the files, then who may enter the folders. All
// of it is on the disk when write returns.
func (c Config) write(files map[string]ops.Secret) error {
	var folders []string
	owners := map[string]int{}
	for _, f := range c.files() {
		folder := filepath.Dir(c.path(f.name))
		if _, ok := owners[folder]; !ok {
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return fmt.Errorf("secrets: %w", err)
			}
			// A volume comes open to all: closed before there is anything in it.
			if err := os.Chmod(folder, 0o700); err != nil {
				return fmt.Errorf("secrets: %w", err)
			}
			folders, owners[folder] = append(folders, folder), f.uid
		}
		if err := c.writeFile(f, files[f.name], c.path(f.name)); err != nil {
			return err
		}
	}
	for _, folder := range folders {
		if err := errors.Join(os.Chmod(folder, folderMode), os.Lchown(folder, owners[folder], owners[folder]), flush(folder)); err != nil {
			return fmt.Errorf("secrets: %w", err)
		}
	}
	return flush(c.Dir)
}

// replace puts new content in the place of a file of the set.
func (c Config) replace(name string, content ops.Secret) (err error) {
	i := slices.IndexFunc(c.files(), func(f file) bool { return f.name == name })
	if i < 0 {
		return fmt.Errorf("secrets: there is no %s", name)
	}
	path := c.path(name)
	folder := filepath.Dir(path)
	next := filepath.Join(folder, "."+filepath.Base(path)+".next")
	if os.Geteuid() != 0 { // all is ours, but a mode binds its owner, too
		if err := os.Chmod(folder, 0o700); err != nil {
			return fmt.Errorf("secrets: %w", err)
		}
		defer func() { err = errors.Join(err, os.Chmod(folder, folderMode)) }()
	}
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a rotation that was killed
		return fmt.Errorf("secrets: %w", err)
	}
	if err := c.writeFile(c.files()[i], content, next); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("secrets: %w", err)
	}
	return flush(folder)
}

// writeFile makes a file that was not there.
func (c Config) writeFile(f file, content ops.Secret, path string) (err error) {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return fmt.Errorf("secrets: %w", err)
	}
	defer func() {
		if err = errors.Join(err, w.Close()); err != nil {
			err = fmt.Errorf("secrets: %s: %w", f.name, err)
		}
	}()
	if _, err := w.WriteString(content.Reveal() + "\n"); err != nil {
		return err
	}
	// The mode first: it is the owner's to set, and then it is somebody else's.
	return errors.Join(w.Chmod(fileMode), w.Chown(f.uid, f.uid), w.Sync())
}

// flush makes names in a folder last.
func flush(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("secrets: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
