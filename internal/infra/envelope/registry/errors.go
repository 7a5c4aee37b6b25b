package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/twmb/franz-go/pkg/sr"
)

// What can go wrong. Match with errors.Is; the texts name the subject, the
// registry and its reason, and never the password.
var (
	// ErrUnavailable: the registry can't be reached, doesn't answer in time, or says
	// that it can't do its work now. Trying again later may help.
	ErrUnavailable = errors.New("the registry is unavailable")
	// ErrUnauthorized: the registry doesn't know the user.
	ErrUnauthorized = errors.New("wrong or missing user and password")
	// ErrForbidden: the user may not do this, or nobody may now.
	ErrForbidden = errors.New("not permitted")
	// ErrNotRegistered: the subject doesn't have this schema.
	ErrNotRegistered = errors.New("not registered")
	// ErrIncompatible: the schema breaks with those that the subject has.
	ErrIncompatible = errors.New("incompatible")
	// ErrInvalid: the registry doesn't understand the schema.
	ErrInvalid = errors.New("invalid schema")
)

// errNoSubject is the ErrNotRegistered of a subject without any schema.
var errNoSubject = fmt.Errorf("%w: no such subject", ErrNotRegistered)

// hopeless says that the next subject will fare no better.
func hopeless(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnauthorized) || errors.Is(err, context.Canceled)
}

// retry calls f until it ends otherwise than with ErrUnavailable, at most as
// often as configured.
func (r *Registry) retry(ctx context.Context, f func() error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 200 * time.Millisecond
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if last = r.explain(ctx, f()); last != nil && !errors.Is(last, ErrUnavailable) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(uint(r.config.Attempts)), backoff.WithMaxElapsedTime(0))
	if err == nil {
		return nil
	}
	return last // with what the registry did, also where the context has ended meanwhile
}

// explain turns the client's error into one of ours.
func (r *Registry) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var answer *sr.ResponseError
	if errors.As(err, &answer) {
		return r.refused(answer)
	}
	var request *url.Error
	var network net.Error
	if errors.As(err, &request) {
		err = request.Err // without the request's address, which r says
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", r, context.Canceled)
	case errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("%w: %s gave no answer in time: %w", ErrUnavailable, r, err)
	case request != nil, network != nil, errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, r, err)
	}
	return fmt.Errorf("%s %s: %w", r, notRegistry, err)
}

// notRegistry is said of a server that answers, but in another language.
const notRegistry = "doesn't answer as a schema registry does: check the URL and its path"

// refused tells errors apart by the API's codes: the first three digits of an
// error code are those of the HTTP status.
func (r *Registry) refused(answer *sr.ResponseError) error {
	reason := firstLine(answer.Error())
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("%w for %s: give them in the URL, as in https://user:password@host", ErrUnauthorized, r)
	case http.StatusForbidden:
		return fmt.Errorf("%w for this user by %s: %s", ErrForbidden, r, reason)
	case http.StatusConflict:
		if answer.Method == http.MethodPost { // else it is about something else than a schema
			return fmt.Errorf("%w: %s", ErrIncompatible, reason)
		}
	case http.StatusUnprocessableEntity:
		switch answer.ErrorCode {
		case sr.ErrInvalidSchema.Code, sr.ErrSchemaTooLarge.Code:
			return fmt.Errorf("%w: %s", ErrInvalid, reason)
		case sr.ErrOperationNotPermitted.Code: // the registry or the subject is read-only
			return fmt.Errorf("%w by %s: %s", ErrForbidden, r, reason)
		}
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Errorf("%w: %s answered %d: %s", ErrUnavailable, r, answer.StatusCode, reason)
	case http.StatusNotFound:
		switch {
		case answer.ErrorCode == sr.ErrSubjectNotFound.Code:
			return fmt.Errorf("%w: %s", errNoSubject, reason)
		case sr.IsNotFoundError(answer.ErrorCode):
			return fmt.Errorf("%w: %s", ErrNotRegistered, reason)
		}
		return fmt.Errorf("%s %s: %s", r, notRegistry, reason)
	}
	if sr.IsServerError(answer.ErrorCode) && answer.ErrorCode != sr.ErrJSONParseError.Code {
		return fmt.Errorf("%w: %s answered %d: %s", ErrUnavailable, r, answer.ErrorCode, reason)
	}
	return fmt.Errorf("%s answered %d: %s", r, answer.StatusCode, reason)
}

// firstLine keeps an error page out of an error's text.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if len(line) <= 1000 {
		return line
	}
	return strings.ToValidUTF8(line[:1000], "") + "…"
}
