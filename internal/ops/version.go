package ops

import "runtime/debug"

// release is what an image is built as. The linker sets it, as an image's build
// sees no version control: -ldflags=-X=github.com/akmatori/akmatori/internal/ops.release=v1.2.3
var release string

// Version is what this program was built from, for people: its release, else the
// version of its module, else the commit, else "development". At most 100 bytes.
func Version() string {
	version := release
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		if version = info.Main.Version; version == "(devel)" {
			version = ""
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && version == "" {
				version = s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	if version == "" {
		return "development"
	}
	return version[:min(len(version), 100)]
}
