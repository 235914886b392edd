package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// variable is ${NAME}, or $${ that stands for itself.
var variable = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}?`)

// variableName is how variables of an environment are called.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// decode reads YAML strictly. Its errors name the place and quote nothing of
// the text, which may hold secrets.
func decode(text []byte, env Environment, to any) error {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return errors.New(yaml.FormatError(err, false, false))
	}
	var documents []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			documents = append(documents, doc.Body)
		}
	}
	switch len(documents) {
	case 0:
		return nil
	case 1:
	default:
		return errors.New("there is more than one document in it")
	}
	// The values are put in when the text has become a tree: what is in a variable
	// is never YAML.
	e := expander{env: env}
	ast.Walk(&e, documents[0])
	if e.err != nil {
		return e.err
	}
	if err := yaml.NodeToValue(documents[0], to, yaml.Strict()); err != nil {
		return errors.New(yaml.FormatError(err, false, false))
	}
	return nil
}

// Environment gives a variable and whether it is set, as os.LookupEnv does. nil
// has none.
type Environment func(name string) (value string, set bool)

// expander puts variables into texts.
type expander struct {
	env Environment
	err error
}

// Visit implements [ast.Visitor].
func (e *expander) Visit(n ast.Node) ast.Visitor {
	if s, ok := n.(*ast.StringNode); ok && e.err == nil {
		s.Value = variable.ReplaceAllStringFunc(s.Value, func(found string) string {
			value, err := e.valueOf(found)
			if err != nil && e.err == nil {
				e.err = fmt.Errorf("line %d: %w", s.GetToken().Position.Line, err)
			}
			return value
		})
	}
	return e
}

func (e *expander) valueOf(found string) (string, error) {
	if found == "$${" {
		return "${", nil
	}
	name, closed := strings.CutSuffix(strings.TrimPrefix(found, "${"), "}")
	if !closed || !variableName.MatchString(name) {
		// What it is instead is not quoted: it may be the rest of a secret.
		return "", errors.New("what begins with ${ is no variable: write ${NAME}, or $${ for the characters themselves")
	}
	if e.env != nil {
		if value, set := e.env(name); set {
			return value, nil
		}
	}
	// Nor is its name: a secret may have ${word} in it.
	return "", errors.New("what ${…} names there is no variable that is set: set it, or write $${ for the characters themselves")
}
