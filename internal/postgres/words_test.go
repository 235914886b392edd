package postgres

import (
	"testing"
	"unicode"
)

// TestShortCuts: what is decided without a look into Unicode's tables is what
// they say, for every character.
func TestShortCuts(t *testing.T) {
	t.Parallel()
	for r := range unicode.MaxRune + 1 {
		word := unicode.In(r, unicode.L, unicode.N, unicode.M) || r == '-' || r == '_' || r == '.'
		if ofWord(r) != word {
			t.Errorf("%U: of a word %t, want %t", r, ofWord(r), word)
		}
		unspaced := unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
		if joined(r) != unspaced {
			t.Errorf("%U: joined %t, want %t", r, joined(r), unspaced)
		}
	}
}
