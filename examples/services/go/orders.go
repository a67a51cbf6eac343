// The orders service, in Go. go mod init orders && go mod tidy && go run .
//
// The gateway has judged scope and role already. This service judges again: a request may come
// past the gateway, and a signature is worth more than a network.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// errNoKeys: nothing can be said about a token without a key set.
var errNoKeys = errors.New("no key set")

var bearer = regexp.MustCompile(`^(?i:Bearer) ([A-Za-z0-9_.-]+)$`)

// Claims are those that the gateway hands on to this audience.
type Claims struct {
	jwt.RegisteredClaims
	ClientID string   `json:"client_id"`
	Scope    string   `json:"scope"`
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	Roles    []string `json:"roles"`
}

type verifier struct {
	keys     keyfunc.Keyfunc
	parser   *jwt.Parser
	audience string
}

func newVerifier(ctx context.Context, issuer, audience, jwksURL string) (*verifier, error) {
	// Caches, and limits how often an unknown kid makes it fetch. Starts without keys, if it must.
	keys, err := keyfunc.NewDefaultCtx(ctx, []string{jwksURL})
	if err != nil {
		return nil, err
	}
	return &verifier{
		keys:     keys,
		audience: audience,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{"RS256"}), // what Cloakroom is configured to sign with
			jwt.WithIssuer(issuer),
			jwt.WithAudience(audience),
			jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(),
			jwt.WithLeeway(time.Minute),
			jwt.WithStrictDecoding(),
		),
	}, nil
}

// claimsOf returns the verified claims of a request.
func (v *verifier) claimsOf(r *http.Request) (*Claims, error) {
	match := bearer.FindStringSubmatch(r.Header.Get("Authorization"))
	if match == nil {
		return nil, errors.New("no bearer token")
	}
	claims := new(Claims)
	token, err := v.parser.ParseWithClaims(match[1], claims, v.keys.Keyfunc)
	if errors.Is(err, jwt.ErrTokenUnverifiable) {
		// No key for it, or no keys at all?
		if held, fault := v.keys.Storage().KeyReadAll(r.Context()); fault != nil || len(held) == 0 {
			return nil, errNoKeys
		}
	}
	if err != nil {
		return nil, err
	}
	// No other kind of JWT passes for an access token (RFC 9068 §4), none with an extension that
	// we do not know (RFC 7515 §4.1.11), and none for several services, one of which could replay
	// it at another.
	_, critical := token.Header["crit"]
	if token.Header["typ"] != "at+jwt" || critical || len(claims.Audience) != 1 ||
		claims.Audience[0] != v.audience || claims.Subject == "" || claims.ClientID == "" ||
		claims.NotBefore == nil || claims.IssuedAt == nil || claims.ID == "" {
		return nil, errors.New("not one of our access tokens")
	}
	return claims, nil
}

func (v *verifier) handle(allows func(*Claims) bool, answer func(*Claims) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		claims, err := v.claimsOf(r)
		switch {
		case errors.Is(err, errNoKeys):
			// That is our trouble and not the caller's.
			write(w, http.StatusServiceUnavailable, map[string]string{"error": "temporarily_unavailable"})
		case err != nil:
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			write(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		case !allows(claims):
			write(w, http.StatusForbidden, map[string]string{"error": "insufficient_scope"})
		default:
			write(w, http.StatusOK, answer(claims))
		}
	}
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// setting returns a variable that must be there: an empty issuer or audience is one that the
// library does not look at.
func setting(name string) string {
	value := os.Getenv(name)
	if value == "" {
		log.Fatalf("%s is not set", name)
	}
	return value
}

func main() {
	v, err := newVerifier(context.Background(), setting("ISSUER"), setting("AUDIENCE"), setting("JWKS_URL"))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/orders", v.handle(
		func(c *Claims) bool { return slices.Contains(strings.Fields(c.Scope), "orders:read") },
		func(c *Claims) any { return map[string]any{"subject": c.Subject, "orders": []string{"1001", "1002"}} },
	))
	mux.HandleFunc("GET /api/reports", v.handle(
		func(c *Claims) bool { return slices.Contains(c.Roles, "admin") },
		func(c *Claims) any { return map[string]any{"subject": c.Subject, "revenue": 213.5} },
	))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+setting("PORT"), mux))
}
