package sandbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A file of a folder is found name by name from the folder's own descriptor, and
// no symbolic link is followed on the way: what a command puts in place of a
// folder meanwhile leads nowhere. The links below skills/ and runbooks/ that lead
// into [Config.Library] are the exception; they are read the same way from there.
const (
	openFile   = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK // a FIFO does not hold it up
	openFolder = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_DIRECTORY
)

// maxDeep bounds how many folders are inside each other.
const maxDeep = 32

// Open opens a regular file for reading. The name is relative to the folder.
func (f *Folder) Open(name string) (*os.File, error) {
	dir, _, err := f.parent(name, false)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(dir) }()
	names := split(name)
	fd, err := f.step(dir, names, openFile)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = file.Close()
		return nil, FileError("it is not a regular file")
	}
	return file, nil
}

// Write makes a file below work/, with the folders that it is in, or replaces
// the whole of a regular one: whoever reads it sees the old content or the new.
func (f *Folder) Write(name string, content []byte) (err error) {
	if names := split(name); len(names) < 2 || names[0] != "work" {
		return FileError("files are written below work/ alone")
	}
	dir, last, err := f.parent(name, true)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	var old unix.Stat_t
	if err := unix.Fstatat(dir, last, &old, unix.AT_SYMLINK_NOFOLLOW); err == nil && old.Mode&unix.S_IFMT != unix.S_IFREG {
		return FileError("there is something of that name that is not a regular file")
	}
	fresh := ".new-" + rand.Text()
	fd, err := unix.Openat(dir, fresh, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return said(err)
	}
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(dir, fresh, 0)
		}
	}()
	file := os.NewFile(uintptr(fd), fresh)
	_, err = file.Write(content)
	if uid, other := f.Owner(); other {
		err = errors.Join(err, file.Chown(uid, uid))
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	return said(unix.Renameat(dir, fresh, dir, last))
}

// Walk gives the regular files below a folder, by their names relative to the
// run's folder and in their order, with their sizes, until visit returns false.
// It fails if there are more than most files and folders.
func (f *Folder) Walk(name string, most int, visit func(name string, size int64) bool) error {
	fd, err := f.folder(split(name), false)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	_, err = f.walk(fd, split(name), &most, visit)
	return err
}

func (f *Folder) walk(fd int, at []string, most *int, visit func(string, int64) bool) (on bool, err error) {
	entries, err := entriesOf(fd, *most)
	if err != nil || len(at) > maxDeep {
		return true, err
	}
	*most -= len(entries)
	for _, entry := range entries {
		here := append(slices.Clip(at), entry)
		var info unix.Stat_t
		if unix.Fstatat(fd, entry, &info, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue // it is gone
		}
		switch info.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			if !visit(strings.Join(here, "/"), info.Size) {
				return false, nil
			}
		case unix.S_IFDIR, unix.S_IFLNK:
			child, err := f.step(fd, here, openFolder)
			if err != nil { // a link to no folder of the library, or closed
				if file, err := f.Open(strings.Join(here, "/")); err == nil {
					size, _ := file.Seek(0, io.SeekEnd)
					_ = file.Close()
					if !visit(strings.Join(here, "/"), size) {
						return false, nil
					}
				}
				continue
			}
			on, err := f.walk(child, here, most, visit)
			_ = unix.Close(child)
			if err != nil || !on {
				return on, err
			}
		}
	}
	return true, nil
}

// entriesOf gives the sorted names in a folder.
func entriesOf(fd, most int) ([]string, error) {
	again, err := unix.Openat(fd, ".", openFolder, 0) // a descriptor of its own, with its own place
	if err != nil {
		return nil, said(err)
	}
	dir := os.NewFile(uintptr(again), "folder")
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(most + 1)
	if len(names) > most {
		return nil, FileError("there are too many files")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// parent opens the folder that a file is in.
func (f *Folder) parent(name string, create bool) (dir int, last string, err error) {
	names := split(name)
	if len(names) == 0 {
		return -1, "", FileError("it is a folder")
	}
	last = names[len(names)-1]
	dir, err = f.folder(names[:len(names)-1], create)
	return dir, last, err
}

// folder opens a folder; with create, it makes those that are not there.
func (f *Folder) folder(names []string, create bool) (int, error) {
	if len(names) > maxDeep {
		return -1, FileError("there are too many folders inside each other")
	}
	fd, err := unix.Open(f.dir, openFolder, 0)
	if err != nil {
		return -1, said(err)
	}
	for i := range names {
		if create {
			if err := f.make(fd, names[i]); err != nil {
				_ = unix.Close(fd)
				return -1, err
			}
		}
		next, err := f.step(fd, names[:i+1], openFolder)
		_ = unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

func (f *Folder) make(fd int, name string) error {
	err := unix.Mkdirat(fd, name, 0o700)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if uid, other := f.Owner(); err == nil && other {
		err = unix.Fchownat(fd, name, uid, uid, unix.AT_SYMLINK_NOFOLLOW)
	}
	return said(err)
}

// step opens the last of names, which is in the folder of fd.
func (f *Folder) step(fd int, names []string, flags int) (int, error) {
	last := names[len(names)-1]
	next, err := unix.Openat(fd, last, flags, 0)
	if err == nil || f.sandbox.cfg.Library == "" || len(names) != 2 || !slices.Contains(libraryFolders, names[0]) {
		return next, said(err)
	}
	held := make([]byte, 4096)
	n, lerr := unix.Readlinkat(fd, last, held)
	if lerr != nil || n == len(held) {
		return -1, said(err)
	}
	below, rerr := filepath.Rel(f.sandbox.cfg.Library, string(held[:n]))
	if rerr != nil || !filepath.IsLocal(below) {
		return -1, said(unix.ELOOP)
	}
	at, err := unix.Open(f.sandbox.cfg.Library, openFolder, 0)
	for i, all := 0, split(below); i < len(all) && err == nil; i++ {
		how := openFolder
		if i == len(all)-1 {
			how = flags
		}
		next, nerr := unix.Openat(at, all[i], how, 0)
		_ = unix.Close(at)
		at, err = next, nerr
	}
	return at, said(err)
}

// split gives the names of a path that [filepath.IsLocal] says yes to.
func split(name string) (names []string) {
	if !filepath.IsLocal(name) {
		return []string{""} // which nothing is called
	}
	for n := range strings.SplitSeq(filepath.Clean(name), "/") {
		if n != "." {
			names = append(names, n)
		}
	}
	return names
}

// said is an error in words for whoever named the file, where it is theirs.
func said(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return FileError("there is no such file or folder")
	case errors.Is(err, unix.ELOOP):
		return FileError("it is, or leads through, a symbolic link")
	case errors.Is(err, unix.ENOTDIR):
		return FileError("a part of the path is not a folder, or is a symbolic link")
	case errors.Is(err, fs.ErrPermission):
		return FileError("its permissions do not let it be opened")
	case errors.Is(err, unix.ENAMETOOLONG):
		return FileError("the name is too long")
	case errors.Is(err, unix.EISDIR):
		return FileError("it is a folder")
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return FileError("there is no space left")
	}
	return fmt.Errorf("sandbox: %w", err)
}
