package cmd_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// threatsFile lists the attacks that tests must cover.
const threatsFile = "../internal/policy/testdata/threats.txt"

// reached is how many rows of a group have a test; less than that fails. Raise
// it with each row that gets one.
var reached = map[string]int{"A": 8, "B": 26, "C": 11, "D": 7, "E": 10, "F": 13, "G": 8, "H": 4, "J": 15, "K": 9, "N": 4}

// absent are rows about parts that the program does not have, with the reason.
// One that gets a test is to be taken out of here.
var absent = map[string]string{
	"J10": "no interface flushes a cache",
	"M1":  "there is no scheduler", "M3": "there is no scheduler", "M4": "there is no scheduler", "M5": "there is no scheduler", "M7": "there is no scheduler", "M8": "there is no scheduler",
	"M9": "there is no chat channel", "M10": "there is no chat channel", "M11": "there is no chat channel", "M12": "there is no chat channel",
}

// TestThreatsAreCovered says which rows have a test. A test covers a row by
// naming its id:
//
//   - in a function whose name begins with TestThreats, by a string that begins
//     with the id, as the names of a table's rows do: {"B6", …} or "B6 a device";
//   - elsewhere, by a line // threats:B6 C5 in the comment of a test function;
//   - in a test of the page, by a name that begins with the id: it("F5 …").
//
// An id that is not in the list fails: a row that nobody knows is a mistake.
// go test -v -run TestThreatsAreCovered ./cmd prints the table.
func TestThreatsAreCovered(t *testing.T) {
	t.Parallel()
	rows, err := threatRows()
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string][]string{} // by id: the tests
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || len(d.Name()) > 2 && strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		in := threatsIn
		switch {
		case !d.IsDir() && pageTest.MatchString(path):
			in = threatsOnThePage
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		return in(path, func(id, test string) {
			if _, ok := rows[id]; !ok {
				t.Errorf("%s names %s, which is not in %s", test, id, threatsFile)
			}
			if !slices.Contains(covered[id], test) {
				covered[id] = append(covered[id], test)
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for id := range absent {
		if _, ok := rows[id]; !ok || len(covered[id]) > 0 {
			t.Errorf("%s is no row, or has a test (%v): take it out of those that are not there", id, covered[id])
		}
	}
	var groups, open, none []string
	have := map[string]int{}
	all := map[string]int{}
	for _, id := range slices.SortedFunc(maps.Keys(rows), compareIDs) {
		group := id[:1]
		if all[group]++; all[group] == 1 {
			groups = append(groups, group)
		}
		if len(covered[id]) > 0 {
			have[group]++
			t.Logf("%-4s %s: %s", id, rows[id], strings.Join(covered[id], ", "))
			continue
		}
		if why := absent[id]; why != "" {
			none = append(none, id)
			t.Logf("%-4s %s: NOT THERE, %s", id, rows[id], why)
			continue
		}
		open = append(open, id)
		t.Logf("%-4s %s: NOT COVERED", id, rows[id])
	}
	var summary strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&summary, " %s %d/%d", g, have[g], all[g])
		if have[g] < reached[g] {
			t.Errorf("of group %s %d rows have a test, and %d had one", g, have[g], reached[g])
		}
	}
	t.Logf("covered: %d of %d rows:%s", len(rows)-len(open)-len(none), len(rows), summary.String())
	t.Logf("not covered: %s", strings.Join(open, " "))
	t.Logf("about parts that are not there: %s", strings.Join(none, " "))
}

var threatID = regexp.MustCompile(`^[A-N][0-9]{1,2}\b`)

var (
	pageTest  = regexp.MustCompile(`web/src/.*\.test\.tsx?$`)
	pageTitle = regexp.MustCompile(`\b(?:it|describe)\("([A-N][0-9]{1,2}) `)
)

// threatsOnThePage reports the ids that the tests of a file of the page name.
func threatsOnThePage(path string, found func(id, test string)) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, m := range pageTitle.FindAllStringSubmatch(string(text), -1) {
		found(m[1], strings.TrimPrefix(filepath.ToSlash(path), "../"))
	}
	return nil
}

// threatRows reads the list: an id and what it is about.
func threatRows() (map[string]string, error) {
	text, err := os.ReadFile(threatsFile)
	if err != nil {
		return nil, err
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, what, ok := strings.Cut(line, " ")
		if _, twice := rows[id]; !ok || twice || threatID.FindString(id) != id {
			return nil, fmt.Errorf("%s: %q is no new id with what it is about", threatsFile, line)
		}
		rows[id] = what
	}
	return rows, nil
}

// threatsIn reports the ids that the tests of a file name.
func threatsIn(path string, found func(id, test string)) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../") + "." + f.Name.Name
		if f.Doc != nil {
			for _, c := range f.Doc.List {
				if ids, ok := strings.CutPrefix(strings.TrimSpace(strings.TrimPrefix(c.Text, "//")), "threats:"); ok { // gofmt puts a blank before it
					for id := range strings.FieldsSeq(ids) {
						found(id, name)
					}
				}
			}
		}
		if !strings.HasPrefix(f.Name.Name, "TestThreats") || f.Body == nil || f.Name.Name == "TestThreatsAreCovered" {
			continue
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					if id := threatID.FindString(text); id != "" && (len(text) == len(id) || text[len(id)] == ' ') {
						found(id, name)
					}
				}
			}
			return true
		})
	}
	return nil
}

// compareIDs orders B2 before B10.
func compareIDs(a, b string) int {
	if a[0] != b[0] || len(a) == len(b) {
		return strings.Compare(a, b)
	}
	return len(a) - len(b)
}
