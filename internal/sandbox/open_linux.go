package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is who commands run as if the agent is root.
const nobody = 65534

// lockName is the file in the root that says whose it is.
const lockName = ".lock"

// Sandbox makes folders and runs commands in them.
//
// A process that opens one starts no other programs: what becomes its child and
// is no supervisor is taken for something that a command has left behind.
type Sandbox struct {
	cfg  Config
	abi  int // of Landlock; 0: there is none
	lock *os.File

	mu          sync.Mutex // held while a process is started or cleared away
	supervisors map[int]bool
}

// Open takes the root, removes what is in it and tries a command. The program
// that calls it has called [Launch] first.
func Open(ctx context.Context, cfg Config) (_ *Sandbox, err error) {
	cfg.Limits.defaults()
	if cfg.Root == "" || cfg.Log == nil {
		return nil, errors.New("sandbox: a root and a logger are required")
	}
	if cfg.Root, err = filepath.Abs(cfg.Root); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if cfg.Library != "" {
		if cfg.Library, err = filepath.Abs(cfg.Library); err != nil {
			return nil, fmt.Errorf("sandbox: %w", err)
		}
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711 // nobody passes through
	}
	if err := os.MkdirAll(cfg.Root, mode); err != nil {
		return nil, fmt.Errorf("sandbox: the workspace cannot be made: %w", err)
	}
	if cfg.Root, err = filepath.EvalSymlinks(cfg.Root); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if os.Geteuid() == 0 {
		if err := passable(cfg.Root); err != nil {
			return nil, err
		}
	}
	s := &Sandbox{cfg: cfg, abi: landlockABI(), supervisors: map[int]bool{}}
	switch {
	case s.abi > 0:
		cfg.Log.Info("the workspace shell is confined", "landlock", s.abi, "root", cfg.Root)
	case cfg.WithoutLandlock:
		cfg.Log.Warn("the workspace shell is NOT confined to its folder: this kernel has no Landlock, and the settings allow that", "root", cfg.Root)
	default:
		return nil, errors.New("sandbox: this kernel has no Landlock, or the container's seccomp profile hides it: " +
			"run on Linux 5.13 or newer with Landlock enabled, switch the workspace off, or allow to run without")
	}
	if s.lock, err = takeLock(filepath.Join(cfg.Root, lockName)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	// What a killed supervisor leaves behind comes to us.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("sandbox: adopt orphans: %w", err)
	}
	if err := s.clear(); err != nil {
		return nil, err
	}
	return s, s.try(ctx)
}

// passable says whether nobody can reach the folder.
func passable(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("sandbox: commands of an agent that is root run as user %d, which cannot pass through %s: choose another workspace", nobody, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func takeLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sandbox: the workspace cannot be written: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("sandbox: another agent uses the workspace %s: give each its own", filepath.Dir(name))
	}
	return f, nil
}

// clear removes what runs of a process that has died have left.
func (s *Sandbox) clear() error {
	entries, err := os.ReadDir(s.cfg.Root)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := removeAll(filepath.Join(s.cfg.Root, e.Name())); err != nil {
			return fmt.Errorf("sandbox: a folder of an earlier run cannot be removed: %w", err)
		}
		s.cfg.Log.Info("removed the folder of a run that is over", "folder", e.Name())
	}
	return nil
}

// try runs a command, so that what is missing is known at the start.
func (s *Sandbox) try(ctx context.Context) (err error) {
	f, err := s.Folder("try")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Remove()) }()
	out, err := f.Run(ctx, Command{Text: "cd && echo ready", Timeout: 20 * time.Second})
	if err == nil && out.Text != "ready\n" {
		err = fmt.Errorf("sandbox: a command that was tried printed %.200q (%s)", out.Text, out.Stopped)
	}
	return err
}

// Close gives the root to others. Folders must be removed before.
func (s *Sandbox) Close() error {
	// A command that is just being started has a copy of the descriptor until it
	// becomes another program: closing ours alone would leave the lock taken.
	return errors.Join(unix.Flock(int(s.lock.Fd()), unix.LOCK_UN), s.lock.Close())
}

// Folder is where the commands of one run work.
type Folder struct {
	sandbox *Sandbox
	dir     string
}

var (
	folderName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)
	fileName   = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_-]{0,127}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)

// Folder makes a folder with work/ and tmp/ in it. It must not exist.
func (s *Sandbox) Folder(name string) (*Folder, error) {
	if !folderName.MatchString(name) {
		return nil, fmt.Errorf("sandbox: %.40q is no name for a folder", name)
	}
	f := &Folder{sandbox: s, dir: filepath.Join(s.cfg.Root, name)}
	root := os.Geteuid() == 0
	mode := os.FileMode(0o700)
	if root {
		mode = 0o755
	}
	if err := os.Mkdir(f.dir, mode); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	for _, dir := range []string{f.work(), f.tmp()} {
		err := os.Mkdir(dir, 0o700)
		if err == nil && root {
			err = os.Chown(dir, nobody, nobody)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("sandbox: %w", err), f.Remove())
		}
	}
	return f, nil
}

// Put makes a file beside work/, or in a folder there that it makes: commands can
// read it and, confined by Landlock, neither change, replace nor remove it. It
// must not exist.
func (f *Folder) Put(name string, content []byte) error {
	dir, _, inside := strings.Cut(name, "/")
	if !fileName.MatchString(name) || inside && (dir == "work" || dir == "tmp") {
		return fmt.Errorf("sandbox: %.40q is no name for a file", name)
	}
	if inside {
		if err := f.Mkdir(dir); err != nil {
			return err
		}
	}
	w, err := os.OpenFile(filepath.Join(f.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	_, err = w.Write(content)
	if os.Geteuid() == 0 { // commands are another user's
		err = errors.Join(err, w.Chmod(0o444))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
}

// Mkdir makes a folder beside work/, if it is not there, for what is Put into it.
func (f *Folder) Mkdir(name string) error {
	if !folderName.MatchString(name) {
		return fmt.Errorf("sandbox: %.40q is no name for a folder", name)
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 { // commands are another user's
		mode = 0o755
	}
	if err := os.Mkdir(filepath.Join(f.dir, name), mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
}

// Dir is where the folder is.
func (f *Folder) Dir() string { return f.dir }

// Owner is the user of commands, if that is not the agent's own: what is made in
// work/ for them must be given to it.
func (f *Folder) Owner() (uid int, other bool) { return nobody, os.Geteuid() == 0 }

func (f *Folder) work() string { return filepath.Join(f.dir, "work") }
func (f *Folder) tmp() string  { return filepath.Join(f.dir, "tmp") }

// Remove removes the folder with all that is in it. No command may run in it.
func (f *Folder) Remove() error {
	if err := removeAll(f.dir); err != nil {
		return fmt.Errorf("sandbox: remove the folder of a run: %w", err)
	}
	return nil
}

// removeAll removes what a command has made, folders that it has closed to
// everybody included.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	if err := unlock(root, filepath.Base(dir)); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// unlock makes all folders below name writable for us. Symbolic links are not
// followed, however deep it goes.
func unlock(in *os.Root, name string) error {
	if err := in.Chmod(name, 0o700); err != nil {
		return err
	}
	root, err := in.OpenRoot(name)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := unlock(root, e.Name()); err != nil {
			return err
		}
	}
	return nil
}
