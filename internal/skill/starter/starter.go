// Package starter has the skills and runbooks that come with the program. The api
// puts them into a new database, where they are like any others. Every command in
// them is one that the default rules allow without asking; a test asks the policy.
package starter

import (
	"embed"
	"io/fs"
)

//go:embed skills runbooks
var files embed.FS

// Skills has a folder for each skill.
func Skills() fs.FS { return sub("skills") }

// Runbooks has a file for each runbook.
func Runbooks() fs.FS { return sub("runbooks") }

func sub(dir string) fs.FS {
	f, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // the name is a constant and valid
	}
	return f
}
