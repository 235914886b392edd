package llm

import (
	"errors"
	"fmt"
	"time"
)

// Kind is what went wrong with a turn.
type Kind string

// The kinds of failure.
const (
	RateLimited Kind = "rate_limited"
	Overloaded  Kind = "overloaded"
	Unavailable Kind = "unavailable" // no connection, or the vendor's own failure
	Interrupted Kind = "interrupted" // the stream ended before the reply did
	Malformed   Kind = "malformed"   // what came is not the protocol
	Auth        Kind = "auth"        // the key is refused
	Token       Kind = "token"       // the proxy refuses the token of who asks
	Quota       Kind = "quota"       // the account has nothing left
	TooLong     Kind = "too_long"    // the conversation does not fit the model
	Refused     Kind = "refused"     // the model or its filter will not answer
	Invalid     Kind = "invalid"     // the vendor refuses the request itself
)

// text is what a user reads of each kind.
func (k Kind) text() string {
	switch k {
	case RateLimited:
		return "the model's vendor limits the rate of requests"
	case Overloaded:
		return "the model is overloaded"
	case Unavailable:
		return "the model is not reachable"
	case Interrupted:
		return "the model's answer broke off"
	case Malformed:
		return "the model's answer was not understood"
	case Auth:
		return "the model's vendor refused the key"
	case Token:
		return "the credential proxy refused the token"
	case Quota:
		return "the account at the model's vendor is used up"
	case TooLong:
		return "the conversation is too long for the model"
	case Refused:
		return "the model refused to answer"
	}
	return "the model's vendor refused the request"
}

// Error is a failed turn.
type Error struct {
	Kind   Kind
	Status int // of HTTP, 0 if there was none
	// Detail is the vendor's own message, cut. It is empty where it could
	// repeat a key.
	Detail string
	// RetryAfter is the pause that the vendor asks for.
	RetryAfter time.Duration
	// Attempts counts the tries that were made.
	Attempts int
	err      error
}

// Error implements error. The text may be shown to users.
func (e *Error) Error() string {
	s := e.Kind.text()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Status != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	return s
}

// Unwrap gives the cause, which may name addresses and is only for logs.
func (e *Error) Unwrap() error { return e.err }

// Retryable says whether the same request may succeed later.
func (e *Error) Retryable() bool {
	switch e.Kind {
	case RateLimited, Overloaded, Unavailable, Interrupted, Malformed:
		return true
	}
	return false
}

// KindOf gives the kind of the first [Error] in err's chain, "" if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}
