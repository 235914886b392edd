package ops

import (
	"errors"
	"fmt"
	"time"
)

// Code says what kind of failure a user meets. The api maps it to an HTTP
// status and the gateway to a tool error, each in one table.
type Code string

// The codes. Anything that is not an [Error] counts as CodeInternal.
const (
	CodeInvalid         Code = "invalid"         // the request itself is wrong
	CodeUnauthenticated Code = "unauthenticated" // no or wrong credentials
	CodeForbidden       Code = "forbidden"       // known, and not allowed
	CodeNotFound        Code = "not_found"
	CodeConflict        Code = "conflict"    // the state does not allow it
	CodeTooLarge        Code = "too_large"   // over a documented limit
	CodeUnavailable     Code = "unavailable" // try again later
	CodeInternal        Code = "internal"
)

// Error is a failure with a message that a user may read. It never contains a
// secret or the text of an internal error.
type Error struct {
	Code    Code
	Message string
	// RetryAfter is set where it is known when another try makes sense.
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Errorf makes an [Error].
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf gives the code of the first [Error] in err's chain, CodeInternal where
// there is none and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// MessageOf gives what a user may read of err.
func MessageOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return "internal error"
}
