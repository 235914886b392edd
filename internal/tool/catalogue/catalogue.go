// Package catalogue says what the tools of the program are: their names,
// descriptions and the schemas of their arguments, for those who show them and
// cannot run them. Its files are written by a test of package tool (-update) and
// compared with the tools by the same, so a change of what a model sees is seen
// by whoever reads the change.
package catalogue

import (
	"embed"
	"encoding/json"
	"fmt"
)

// Entry is one tool.
type Entry struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"inputSchema"`
	Mutates     bool            `json:"mutates"`
	// Service says that only parts of the program use it.
	Service bool `json:"service"`
}

//go:embed *.json
var files embed.FS

// All gives the tools by name.
func All() []Entry {
	names, err := files.ReadDir(".")
	if err != nil {
		panic(fmt.Sprintf("catalogue: %v", err)) // it is part of the program
	}
	all := make([]Entry, len(names))
	for i, n := range names {
		text, err := files.ReadFile(n.Name())
		if err == nil {
			err = json.Unmarshal(text, &all[i])
		}
		if err != nil {
			panic(fmt.Sprintf("catalogue: %s: %v", n.Name(), err))
		}
	}
	return all
}
