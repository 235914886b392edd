package fake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// OIDC is an OpenID Connect provider that lets in whoever it is told to, without
// asking. It does the authorization code flow with PKCE (S256), signs with ES256,
// and gives a code once. Its fields may be changed between requests, through Set.
type OIDC struct {
	// Issuer is where it is reached, without a slash at the end. Required.
	Issuer, ClientID string
	ClientSecret     ops.Secret
	// Claims are of who signs in, beside those of the protocol; sub is required.
	Claims map[string]any
	// UserInfo, if it is there, is what the user info has in place of Claims.
	UserInfo map[string]any
	// Down answers 503 to everything. Long answers more than anybody reads.
	Down, Long bool
	// Forge changes the claims of a token, and Sign its form: given its header,
	// claims and signature. Both are what an attacker would do.
	Forge func(claims map[string]any)
	Sign  func(header, claims, signature string) string

	key    *ecdsa.PrivateKey
	mu     sync.Mutex
	codes  map[string]url.Values // what they were asked for with
	tokens map[string]bool
}

// NewOIDC makes a provider with a key of its own.
func NewOIDC(clientID string, secret ops.Secret) *OIDC {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // which never fails
	return &OIDC{ClientID: clientID, ClientSecret: secret, key: key, codes: map[string]url.Values{}, tokens: map[string]bool{}}
}

// Set changes it.
func (o *OIDC) Set(change func(*OIDC)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

// ServeHTTP implements [http.Handler].
func (o *OIDC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.Down:
		http.Error(w, "down", http.StatusServiceUnavailable)
	case o.Long:
		_, _ = w.Write([]byte(`{"issuer":"` + strings.Repeat("x", 2<<20) + `"}`))
	case r.URL.Path == "/.well-known/openid-configuration":
		give(w, http.StatusOK, map[string]any{"issuer": o.Issuer, "authorization_endpoint": o.Issuer + "/authorize", "token_endpoint": o.Issuer + "/token",
			"userinfo_endpoint": o.Issuer + "/userinfo", "jwks_uri": o.Issuer + "/keys", "response_types_supported": []string{"code"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256", "none", "HS256"},
			"code_challenge_methods_supported": []string{"S256"}, "scopes_supported": []string{"openid", "profile", "groups"}})
	case r.URL.Path == "/keys":
		x, y := make([]byte, 32), make([]byte, 32)
		point, _ := o.key.PublicKey.Bytes() // 4, x, y
		copy(x, point[1:33])
		copy(y, point[33:])
		give(w, http.StatusOK, map[string]any{"keys": []any{map[string]string{"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256", "x": b64(x), "y": b64(y)}}})
	case r.URL.Path == "/authorize":
		o.authorize(w, r)
	case r.URL.Path == "/token" && r.Method == http.MethodPost:
		o.token(w, r)
	case r.URL.Path == "/userinfo":
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !o.tokens[token] {
			give(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
			return
		}
		claims := o.Claims
		if o.UserInfo != nil {
			claims = o.UserInfo
		}
		give(w, http.StatusOK, claims)
	default:
		http.NotFound(w, r)
	}
}

func (o *OIDC) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	to, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != o.ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" ||
		!strings.Contains(" "+q.Get("scope")+" ", " openid ") || q.Get("state") == "" || q.Get("nonce") == "" {
		http.Error(w, "not a request of our client", http.StatusBadRequest)
		return
	}
	code := ops.NewToken("").Reveal()
	o.codes[code] = q
	to.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {o.Issuer}}.Encode()
	http.Redirect(w, r, to.String(), http.StatusFound)
}

func (o *OIDC) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	asked, known := o.codes[r.PostFormValue("code")]
	delete(o.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case !ok || id != o.ClientID || secret != o.ClientSecret.Reveal():
		give(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	case !known || asked.Get("code_challenge") != b64(sum[:]) || asked.Get("redirect_uri") != r.PostFormValue("redirect_uri"):
		give(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "the code " + r.PostFormValue("code") + " is none"})
		return
	}
	access := ops.NewToken("").Reveal()
	o.tokens[access] = true
	hash := sha256.Sum256([]byte(access))
	now := time.Now()
	claims := map[string]any{"iss": o.Issuer, "aud": o.ClientID, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "nonce": asked.Get("nonce"), "at_hash": b64(hash[:16])}
	maps.Copy(claims, o.Claims)
	if o.Forge != nil {
		o.Forge(claims)
	}
	give(w, http.StatusOK, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 60, "id_token": o.signed(claims)})
}

// signed makes a JWT (RFC 7519) of the claims.
func (o *OIDC) signed(claims map[string]any) string {
	body, _ := json.Marshal(claims)
	head, payload := b64([]byte(`{"alg":"ES256","typ":"JWT","kid":"k1"}`)), b64(body)
	sum := sha256.Sum256([]byte(head + "." + payload))
	r, s, _ := ecdsa.Sign(rand.Reader, o.key, sum[:])
	signature := make([]byte, 64) // RFC 7518, section 3.4
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	if o.Sign != nil {
		return o.Sign(head, payload, b64(signature))
	}
	return head + "." + payload + "." + b64(signature)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func give(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
