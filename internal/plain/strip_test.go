package plain

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestStrip(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain é 世\t\n":                           "plain é 世\t\n",
		"a\r\nb\rc\r\r\n":                         "a\nb\nc\n",
		"\x1b[31mred\x1b[0m":                      "red",
		"\x1b[1;31;4mx\x1b[K":                     "x",
		"\x1b]0;title\x07x":                       "x",
		"\x1b]8;;http://x\x1b\\y":                 "y",
		"\x1bPq#\x1b\\y\x1b_x\x1b\\z":             "yz",
		"\x1b(Bx\x1b=y\x1b>\x1bcz":                "xyz",
		"\x1b]never ends\nnext":                   "\nnext",
		"\x1b[12\nnext":                           "\nnext",
		"a\x00b\x07c\x08d\x7fe":                   "abcde",
		"\u009b31mx\u009dt\u009cy":                "xy",
		"a\u202eb\u200bc\ufeffd":                  "abcd",
		"a\U000e0041b\u2066c\u2028d":              "abcd",
		"\xff\xfea\xc3":                           "\ufffd\ufffda\ufffd",
		"\x1b\x1b[31mx":                           "x",
		"\x1b[" + strings.Repeat("1", 400) + "mx": strings.Repeat("1", 401-maxSequence) + "mx",
	} {
		// Whole, and byte by byte.
		var s Stripper
		require.Equal(t, want, string(s.Flush(s.AppendTo(nil, []byte(in)))), "%q", in)
		var one Stripper
		var got []byte
		for i := range len(in) {
			got = one.AppendTo(got, []byte{in[i]})
		}
		require.Equal(t, want, string(one.Flush(got)), "%q", in)
	}
}

func FuzzStrip(f *testing.F) {
	f.Add("a\x1b[31mb\xc3", 3)
	f.Fuzz(func(t *testing.T, in string, cut int) {
		var whole, parts Stripper
		want := whole.Flush(whole.AppendTo(nil, []byte(in)))
		cut = max(0, min(len(in), cut))
		got := parts.Flush(parts.AppendTo(parts.AppendTo(nil, []byte(in[:cut])), []byte(in[cut:])))
		require.Equal(t, want, got)
		require.True(t, utf8.Valid(want))
		for _, r := range string(want) {
			require.True(t, r == '\n' || r == '\t' || r >= ' ' && (r < 0x7f || r > 0x9f), "%q", want)
		}
	})
}
