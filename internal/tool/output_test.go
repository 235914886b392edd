package tool

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
	"github.com/stretchr/testify/require"
)

const secret = `pä$$ "wörd"<&>/+%x`

func TestRedact(t *testing.T) {
	t.Parallel()
	r := NewRedactor(ops.NewSecret(secret), ops.Secret{}, ops.NewSecret("abc"))
	quoted, err := json.Marshal(secret)
	require.NoError(t, err)
	inside := string(quoted[1 : len(quoted)-1])
	for name, in := range map[string]string{
		"raw":           secret,
		"hex":           hex.EncodeToString([]byte(secret)),
		"HEX":           strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"query":         url.QueryEscape(secret),
		"path":          url.PathEscape(secret),
		"json":          inside,
		"json in json":  `{"password":` + string(quoted) + `}`,
		"base64":        base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 inside": base64.StdEncoding.EncodeToString([]byte("user:" + secret + ":x")),
		"base64 at 1":   base64.URLEncoding.EncodeToString([]byte("u" + secret + "tail")),
		"base64 at 2":   base64.URLEncoding.EncodeToString([]byte("uv" + secret + "tail")),
	} {
		got := r.String("<" + in + ">")
		require.Contains(t, got, ops.Redacted, name)
		require.True(t, strings.HasPrefix(got, "<") && strings.HasSuffix(got, ">"), name)
		for _, form := range forms([]byte(secret)) {
			require.NotContains(t, got, string(form), name)
		}
	}
	for _, innocent := range []string{"", "abc", "p", "pä", secret[:len(secret)-1], "abcabc" + secret[:3]} {
		require.Equal(t, innocent, r.String(innocent))
	}
	require.Equal(t, strings.Repeat(ops.Redacted, 3), r.String(strings.Repeat(secret, 3)))
}

func TestRedactKey(t *testing.T) {
	t.Parallel()
	pem := "-----BEGIN OPENSSH PRIVATE KEY-----\n" + strings.Repeat("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2\n", 3) + "QyNTUxOQAAACDc\n-----END OPENSSH PRIVATE KEY-----\n"
	r := NewRedactor(ops.NewSecret(pem))
	require.Equal(t, "-----BEGIN OPENSSH PRIVATE KEY-----\n"+strings.Repeat(ops.Redacted+ops.Redacted+"\n", 3)+ops.Redacted+"\n-----END OPENSSH PRIVATE KEY-----\n", r.String(pem))
	// One line of it, and all of it through base64 with line breaks.
	require.NotContains(t, r.String("x b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2 x"), "b3BlbnNza")
	encoded := base64.StdEncoding.EncodeToString([]byte(pem))
	var wrapped strings.Builder
	for len(encoded) > 76 {
		wrapped.WriteString(encoded[:76] + "\n")
		encoded = encoded[76:]
	}
	require.Contains(t, r.String(wrapped.String()), ops.Redacted)
}

// FuzzRedact: however the stream is cut, no occurrence is left, and what is not
// a secret is not changed.
func FuzzRedact(f *testing.F) {
	f.Add("xx hunter22 yy", uint8(5), uint8(9))
	f.Add("hunterhunter22hunter222hunter2", uint8(5), uint8(9))
	r := NewRedactor(ops.NewSecret("hunter22"), ops.NewSecret("hunter2222x"), ops.NewSecret("aaaa"))
	f.Fuzz(func(t *testing.T, in string, a, b uint8) {
		var got bytes.Buffer
		w := r.stream(func(p []byte) { got.Write(p) })
		i, j := min(int(a), len(in)), min(int(a)+int(b), len(in))
		for _, part := range []string{in[:i], in[i:j], in[j:]} {
			w.write([]byte(part))
		}
		w.flush()
		require.Equal(t, r.String(in), got.String())
		require.NotContains(t, strings.ReplaceAll(got.String(), ops.Redacted, "\x00"), "hunter22")
		if !strings.Contains(in, "hunter22") && !strings.Contains(in, "aaaa") && !strings.ContainsAny(in, "68YWFhdWh") {
			require.Equal(t, in, got.String())
		}
	})
}

func TestOutput(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, plain.Half - 1, plain.Half, plain.Half + 1, 2 * plain.Half, 2*plain.Half + 1, 3*plain.Half + 17, 5 * plain.Half} {
		for _, chunk := range []int{1000, plain.Half, 32 << 10, 3*plain.Half + 5} {
			all := make([]byte, size)
			for i := range all {
				all[i] = 'a' + byte((i+i/97)%26)
			}
			var live strings.Builder
			o := NewOutput(nil, Sink{Live: func(s string) { live.WriteString(s) }})
			for rest := all; len(rest) > 0; {
				n := min(chunk, len(rest))
				_, err := o.stdout().Write(rest[:n])
				require.NoError(t, err)
				rest = rest[n:]
			}
			out := o.Close()
			text, truncated := out.Text, out.Truncated
			require.Equal(t, int64(max(0, size-2*plain.Half)), truncated)
			require.Equal(t, string(all[:min(size, 2*plain.Half)]), live.String())
			if truncated == 0 {
				require.Equal(t, string(all), text)
				continue
			}
			require.True(t, strings.HasPrefix(text, string(all[:plain.Half])))
			require.True(t, strings.HasSuffix(text, string(all[size-plain.Half:])), "%d by %d", size, chunk)
			require.Contains(t, text, "bytes are left out here")
		}
	}
}

func TestOutputOfTwoStreams(t *testing.T) {
	t.Parallel()
	var live []string
	o := NewOutput(NewRedactor(ops.NewSecret("hunter22")), Sink{Live: func(s string) { live = append(live, s) }})
	// A sequence or a character cut on one stream does not eat the other.
	for _, w := range []struct {
		s stream
		p string
	}{{o.stdout(), "a\x1b["}, {o.stderr(), "E"}, {o.stdout(), "31mb\xc3"}, {o.stderr(), "F"}, {o.stdout(), "\xa9 hunt"}, {o.stdout(), "er"}, {o.stdout(), "22 c"}} {
		_, err := w.s.Write([]byte(w.p))
		require.NoError(t, err)
	}
	text := o.Close().Text
	require.Equal(t, "aEbFé [redacted] c", text)
	require.Equal(t, text, strings.Join(live, ""))
	_, err := o.stdout().Write([]byte("late"))
	require.NoError(t, err)
	require.Equal(t, text, o.Close().Text)
}

func BenchmarkOutput(b *testing.B) {
	var secrets []ops.Secret
	for range 40 {
		secrets = append(secrets, ops.NewToken("x"))
	}
	r := NewRedactor(secrets...)
	for name, line := range map[string]string{
		"text":   "Nov 21 11:26:41 host kernel: [12345.678] eth0: link becomes ready, address 10.0.0.1\n",
		"base64": "dGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZyBhbmQgc29tZQ\n",
	} {
		chunk := []byte(strings.Repeat(line, 32<<10/len(line)))
		b.Run(name, func(b *testing.B) {
			o := NewOutput(r, Sink{})
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = o.stdout().Write(chunk)
			}
		})
	}
}
