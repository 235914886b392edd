package policy

import (
	"fmt"
	"slices"
	"strings"
)

// options says which options of a program are known, as words:
//
//	-abc     letters without a value, which may stand in one word
//	-n:      a letter with a value, in the same word or the next
//	-c?      a letter with a value in the same word or none
//	-#       a number, as in head -20
//	--all    a long option; --lines= has a value, --color? may have one behind a =
//
// A value in the next word does not look like an option: it may be one where a
// version of the program takes a value in the same word or none.
//
// A long option counts only if it is written out: which one an abbreviation
// means depends on the version of the program.
type options string

// option is one that was given.
type option struct {
	name, value string
}

// letter says what follows a letter: 0 it is not known, ' ' nothing, ':' a value, '?' maybe.
func (o options) letter(c byte) byte {
	for word := range strings.FieldsSeq(string(o)) {
		if strings.HasPrefix(word, "--") || word == "-#" {
			continue
		}
		if i := strings.IndexByte(word[1:], c); i >= 0 {
			if last := word[len(word)-1]; last == ':' || last == '?' {
				return last
			}
			return ' '
		}
	}
	return 0
}

// long does the same for a long option, with its dashes: 0, ' ', '=' or '?'.
func (o options) long(name string) byte {
	for word := range strings.FieldsSeq(string(o)) {
		if rest, ok := strings.CutPrefix(word, name); ok && strings.HasPrefix(word, "--") {
			switch rest {
			case "":
				return ' '
			case "=", "?":
				return rest[0]
			}
		}
	}
	return 0
}

func (o options) number() bool { return slices.Contains(strings.Fields(string(o)), "-#") }

// scan takes the arguments of a command apart, those without the program. If
// first, it ends before the first that is no option, and rest is what is left;
// else operands may stand between options, as GNU programs take them. A reason
// says what is not known about them.
func (o options) scan(args argv, first bool) (given []option, operands, rest argv, reason string) {
	for i := 0; i < len(args); i++ {
		w := args[i]
		switch {
		case w.unknown || len(w.text) < 2 || w.text[0] != '-':
			if first {
				return given, nil, args[i:], ""
			}
			operands = append(operands, w)
		case w.text == "--":
			if first {
				return given, nil, args[i+1:], ""
			}
			return given, append(operands, args[i+1:]...), nil, ""
		case strings.HasPrefix(w.text, "--"):
			name, value, has := strings.Cut(w.text, "=")
			kind := o.long(name)
			switch {
			case kind == 0, kind == ' ' && has:
				return nil, nil, nil, w.text + " is not a known safe option"
			case kind == '=' && !has:
				if i++; i == len(args) || args[i].unknown || mayBeOption(args[i].text) {
					return nil, nil, nil, name + " lacks its value"
				}
				value = args[i].text
			}
			given = append(given, option{name, value})
		case o.number() && strings.Trim(w.text[1:], "0123456789") == "":
			given = append(given, option{"-#", w.text[1:]})
		default:
			letters := w.text[1:]
			for j := 0; j < len(letters); j++ {
				one := option{name: "-" + letters[j:j+1]}
				switch o.letter(letters[j]) {
				case 0:
					return nil, nil, nil, fmt.Sprintf("%s is not a known safe option", one.name)
				case ':':
					if one.value = letters[j+1:]; one.value == "" {
						if i++; i == len(args) || args[i].unknown || mayBeOption(args[i].text) {
							return nil, nil, nil, one.name + " lacks its value"
						}
						one.value = args[i].text
					}
					j = len(letters)
				case '?':
					one.value = letters[j+1:]
					j = len(letters)
				}
				given = append(given, one)
			}
		}
	}
	return given, operands, nil, ""
}

// mayBeOption says whether a word looks like an option rather than like a dash, a
// negative number or the name of a column in falling order (-%mem).
func mayBeOption(w string) bool {
	if len(w) < 2 || w[0] != '-' {
		return false
	}
	c := w[1]
	return c == '-' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
