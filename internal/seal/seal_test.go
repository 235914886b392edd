package seal

import (
	"fmt"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

func sshKey() ops.Credential {
	return ops.Credential{ID: "0198c0de-0000-7000-8000-000000000001", Name: "web", Kind: "ssh_key",
		Targets: []string{"web-*", "db-1"}, Version: 3}
}

func newPair(t testing.TB, zone ops.Zone) (PrivateKey, PublicKey) {
	t.Helper()
	private, public, err := GenerateKey(zone)
	require.NoError(t, err)
	return private, public
}

func ringOf(t testing.TB, keys ...PrivateKey) Ring {
	t.Helper()
	r, err := NewRing(keys...)
	require.NoError(t, err)
	return r
}

func TestOpenGivesWhatWasSealed(t *testing.T) {
	t.Parallel()
	older, _ := newPair(t, ops.ZoneTools)
	private, public := newPair(t, ops.ZoneTools)
	for _, plaintext := range []string{"p", "line\nline\x00\xff", strings.Repeat("x", MaxPlaintext)} {
		cred := sshKey()
		sealed, err := public.Seal(cred, ops.NewSecret(plaintext))
		require.NoError(t, err)
		if len(plaintext) > 1 {
			require.NotContains(t, string(sealed), plaintext)
		}
		cred.Sealed = sealed
		for _, ring := range []Ring{ringOf(t, private), ringOf(t, older, private)} {
			got, err := ring.Open(cred)
			require.NoError(t, err)
			require.Equal(t, plaintext, got.Reveal())
		}
	}
}

func TestNoTargetsAndNilTargetsAreTheSame(t *testing.T) {
	t.Parallel()
	private, public := newPair(t, ops.ZoneTools)
	cred := sshKey()
	cred.Targets = nil
	sealed, err := public.Seal(cred, ops.NewSecret("s"))
	require.NoError(t, err)
	cred.Sealed, cred.Targets = sealed, []string{}
	_, err = ringOf(t, private).Open(cred)
	require.NoError(t, err)
}

func TestWhatWasChangedDoesNotOpen(t *testing.T) {
	t.Parallel()
	private, public := newPair(t, ops.ZoneTools)
	_, other := newPair(t, ops.ZoneTools)
	egress, egressPublic := newPair(t, ops.ZoneEgress)
	ring := ringOf(t, private)
	cred := sshKey()
	sealed, err := public.Seal(cred, ops.NewSecret("the secret"))
	require.NoError(t, err)
	foreign, err := other.Seal(cred, ops.NewSecret("the secret"))
	require.NoError(t, err)

	for name, tt := range map[string]struct {
		change func(*ops.Credential)
		want   error
	}{
		"id":             {func(c *ops.Credential) { c.ID = "0198c0de-0000-7000-8000-000000000002" }, ErrNotOpened},
		"kind":           {func(c *ops.Credential) { c.Kind = "ssh_password" }, ErrNotOpened},
		"kind of egress": {func(c *ops.Credential) { c.Kind = "llm_key" }, ErrNotOpened},
		"unknown kind":   {func(c *ops.Credential) { c.Kind = "" }, ErrNotOpened},
		"wider targets":  {func(c *ops.Credential) { c.Targets = []string{"*"} }, ErrNotOpened},
		"joined targets": {func(c *ops.Credential) { c.Targets = []string{"web-*,db-1"} }, ErrNotOpened},
		"no targets":     {func(c *ops.Credential) { c.Targets = nil }, ErrNotOpened},
		"version":        {func(c *ops.Credential) { c.Version-- }, ErrNotOpened},
		"empty":          {func(c *ops.Credential) { c.Sealed = nil }, ErrNotOpened},
		"magic alone":    {func(c *ops.Credential) { c.Sealed = magic }, ErrNotOpened},
		"cut":            {func(c *ops.Credential) { c.Sealed = sealed[:len(sealed)-1] }, ErrNotOpened},
		"longer":         {func(c *ops.Credential) { c.Sealed = append(append([]byte{}, sealed...), 0) }, ErrNotOpened},
		"later version":  {func(c *ops.Credential) { c.Sealed = append([]byte("AKS\x02"), sealed[4:]...) }, ErrNotOpened},
		"another key":    {func(c *ops.Credential) { c.Sealed = foreign }, ErrUnknownKey},
		"another key, id rewritten": {func(c *ops.Credential) {
			c.Sealed = append(append([]byte{}, sealed[:12]...), foreign[12:]...)
		}, ErrNotOpened},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cred
			c.Sealed = sealed
			tt.change(&c)
			got, err := ring.Open(c)
			require.ErrorIs(t, err, tt.want)
			require.True(t, got.Empty())
		})
	}
	t.Run("a renamed credential opens", func(t *testing.T) {
		t.Parallel()
		c := cred
		c.Sealed, c.Name = sealed, "renamed"
		_, err := ring.Open(c)
		require.NoError(t, err)
	})
	t.Run("any bit", func(t *testing.T) {
		t.Parallel()
		// Every byte of the header, then steps through key and ciphertext.
		for i := 0; i < len(sealed); i += 1 + i/16 {
			c := cred
			c.Sealed = append([]byte{}, sealed...)
			c.Sealed[i] ^= 1 << (i % 8)
			_, err := ring.Open(c)
			require.Error(t, err, "byte %d", i)
		}
	})
	t.Run("the other zone", func(t *testing.T) {
		t.Parallel()
		c := cred
		c.Sealed = sealed
		_, err := ringOf(t, egress).Open(c)
		require.ErrorIs(t, err, ErrNotOpened)
		_, err = egressPublic.Seal(cred, ops.NewSecret("s"))
		require.ErrorContains(t, err, "not of zone")
		_, err = Ring{}.Open(c)
		require.ErrorIs(t, err, ErrNotOpened)
		_, err = PublicKey{}.Seal(cred, ops.NewSecret("s"))
		require.Error(t, err)
	})
}

func TestSealRefusesEmptyAndHuge(t *testing.T) {
	t.Parallel()
	_, public := newPair(t, ops.ZoneTools)
	for _, n := range []int{0, MaxPlaintext + 1} {
		_, err := public.Seal(sshKey(), ops.NewSecret(strings.Repeat("x", n)))
		require.ErrorContains(t, err, "1 to 65536 bytes")
	}
}

func TestTextForms(t *testing.T) {
	t.Parallel()
	private, public := newPair(t, ops.ZoneEgress)
	older, olderPublic := newPair(t, ops.ZoneEgress)
	require.Regexp(t, `^akmatori-public-key egress [0-9a-f]{16} [A-Za-z0-9+/]+=*$`, public.String())

	parsed, err := ParsePublic("\n " + public.String() + "\r\n")
	require.NoError(t, err)
	require.Equal(t, public.String(), parsed.String())
	require.Equal(t, ops.ZoneEgress, parsed.Zone())

	a, err := private.Text()
	require.NoError(t, err)
	b, err := older.Text()
	require.NoError(t, err)
	require.Regexp(t, `^akmatori-private-key egress [0-9a-f]{16} [A-Za-z0-9+/]{43}=$`, a.Reveal())
	ring, err := ParseRing(ops.ZoneEgress, ops.NewSecret("# newest\n"+a.Reveal()+"\n\n"+b.Reveal()))
	require.NoError(t, err)
	require.Equal(t, ops.ZoneEgress, ring.Zone())
	cred := ops.Credential{ID: "x", Kind: "llm_key", Targets: []string{"openai"}}
	for _, k := range []PublicKey{public, olderPublic, parsed} {
		cred.Sealed, err = k.Seal(cred, ops.NewSecret("sk-1"))
		require.NoError(t, err)
		got, err := ring.Open(cred)
		require.NoError(t, err)
		require.Equal(t, "sk-1", got.Reveal())
	}

	_, _, err = GenerateKey("moon")
	require.ErrorContains(t, err, "unknown zone")
	tools, _ := newPair(t, ops.ZoneTools)
	_, err = NewRing(private, tools)
	require.ErrorContains(t, err, "do not mix")
}

func TestMalformedKeysAreRefusedWithoutEchoing(t *testing.T) {
	t.Parallel()
	private, public := newPair(t, ops.ZoneTools)
	text, err := private.Text()
	require.NoError(t, err)
	good := text.Reveal()
	fields := strings.Fields(good)
	seed := fields[3]
	other, _ := newPair(t, ops.ZoneTools)

	for name, line := range map[string]string{
		"empty":          "",
		"comment only":   "# nothing",
		"public key":     public.String(),
		"bare base64":    seed,
		"five words":     good + " " + seed,
		"unknown zone":   fields[0] + " " + seed + " " + fields[2] + " " + seed,
		"other zone":     strings.Replace(good, " tools ", " egress ", 1),
		"id of another":  strings.Replace(good, private.id.String(), other.id.String(), 1),
		"id not hex":     fields[0] + " tools zz " + seed,
		"short":          fields[0] + " tools " + fields[2] + " " + seed[:40],
		"not base64":     fields[0] + " tools " + fields[2] + " " + seed[:43] + "!",
		"a good and bad": good + "\n" + seed,
		"seed as word":   seed + " tools " + fields[2] + " " + seed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseRing(ops.ZoneTools, ops.NewSecret(line))
			require.Error(t, err)
			require.NotContains(t, err.Error(), seed[:40])
			_, err = ParsePublic(strings.Replace(line, privateWord, publicWord, 1))
			if line != public.String() {
				require.Error(t, err)
				require.NotContains(t, err.Error(), seed[:40])
			}
		})
	}
	_, err = ParseRing(ops.ZoneEgress, text)
	require.ErrorContains(t, err, "a key of zone tools")
}

func TestPrivateKeysDoNotPrint(t *testing.T) {
	t.Parallel()
	private, _ := newPair(t, ops.ZoneTools)
	text, err := private.Text()
	require.NoError(t, err)
	seed := strings.Fields(text.Reveal())[3]
	raw, err := private.key.Bytes()
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{private, &private, ringOf(t, private), []PrivateKey{private}, struct{ K Ring }{ringOf(t, private)}} {
			out := fmt.Sprintf(verb, v)
			require.NotContains(t, out, seed)
			require.NotContains(t, out, fmt.Sprintf("%x", raw))
		}
	}
}

func FuzzParsePublic(f *testing.F) {
	_, public := newPair(f, ops.ZoneTools)
	f.Add(public.String())
	f.Add("akmatori-public-key tools 0011223344556677 AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParsePublic(text)
		if err != nil {
			return
		}
		again, err := ParsePublic(k.String())
		require.NoError(t, err)
		require.Equal(t, k.String(), again.String())
	})
}

func FuzzParseRing(f *testing.F) {
	private, _ := newPair(f, ops.ZoneTools)
	text, err := private.Text()
	require.NoError(f, err)
	f.Add(text.Reveal() + "\n# old\n" + text.Reveal())
	f.Add("akmatori-private-key tools 0011223344556677 AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRing(ops.ZoneTools, ops.NewSecret(text))
		require.Equal(t, err == nil, len(r.keys) > 0)
	})
}

func FuzzOpen(f *testing.F) {
	private, public := newPair(f, ops.ZoneTools)
	ring := ringOf(f, private)
	cred := sshKey()
	sealed, err := public.Seal(cred, ops.NewSecret("the secret"))
	require.NoError(f, err)
	f.Add(sealed)
	f.Add(sealed[:12])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := cred
		c.Sealed = b
		got, err := ring.Open(c)
		if err == nil {
			require.Equal(t, sealed, b)
			require.Equal(t, "the secret", got.Reveal())
		}
	})
}
