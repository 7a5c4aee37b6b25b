package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
)

// Registry is a client of a schema registry. It is safe for concurrent use and
// needs no closing.
type Registry struct {
	config Config
	where  string
	client *sr.Client
}

// New returns a client. It sends nothing yet.
func New(config Config) (*Registry, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	u, err := ParseURL(config.URL)
	if err != nil {
		return nil, err
	}
	r := &Registry{config: config, where: u.Redacted()}
	options := []sr.ClientOpt{sr.HTTPClient(&http.Client{Timeout: config.Timeout}), sr.UserAgent("millwright")}
	if u.User != nil {
		password, _ := u.User.Password()
		options = append(options, sr.BasicAuth(u.User.Username(), password))
		u.User = nil // so that no error of the client can repeat it
	}
	r.client, err = sr.NewClient(append(options, sr.URLs(u.String()))...)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return r, nil
}

// String says where the registry is, without the password.
func (r *Registry) String() string { return r.where }

// Registered is a schema that the registry has.
type Registered struct {
	EventType     string `json:"event_type"`
	SchemaVersion int    `json:"schema_version"`
	Subject       string `json:"subject"`
	// ID is the text's, in the whole registry.
	ID int `json:"id"`
	// Version is the registry's own number within the subject, from 1.
	Version int `json:"version"`
	// New is false where the subject had the schema before.
	New bool `json:"new"`
}

// Publish registers the schemas, in this order: where they share a subject, the
// older version goes first. A subject gets the level of its schema before. What
// is registered already stays as it is, so it may be called again.
//
// It goes on after a failure; the errors are joined, each naming its subject. It
// stops where no other schema would fare better: the registry is unavailable or
// doesn't know the user.
func (r *Registry) Publish(ctx context.Context, schemas ...Schema) ([]Registered, error) {
	published := make([]Registered, 0, len(schemas))
	err := r.each("publish", schemas, func(s Schema, subject string) error {
		err := r.setLevel(ctx, subject, s.Compatibility)
		early := errors.Is(err, ErrNotRegistered)
		if err != nil && !early {
			return err
		}
		found, err := r.lookup(ctx, subject, s)
		unknown := errors.Is(err, ErrNotRegistered)
		if unknown {
			found, err = r.register(ctx, subject, s)
		}
		if early && err == nil { // some registries set no level for what isn't there
			err = r.setLevel(ctx, subject, s.Compatibility)
		}
		if err != nil {
			return err
		}
		published = append(published, Registered{
			EventType: s.EventType, SchemaVersion: s.Version, Subject: subject, ID: found.ID, Version: found.Version, New: unknown,
		})
		return nil
	})
	return published, err
}

// State is what Check finds.
type State string

// The states. All but StateIncompatible are fine.
const (
	// StateKnown: the subject has the schema.
	StateKnown State = "known"
	// StateNew: the subject has no schema yet, so there is nothing to break with.
	StateNew State = "new"
	// StateCompatible: the subject has others, and this one may follow them.
	StateCompatible State = "compatible"
	// StateIncompatible: it may not.
	StateIncompatible State = "incompatible"
)

// Verdict is the registry's judgement of a schema.
type Verdict struct {
	EventType     string `json:"event_type"`
	SchemaVersion int    `json:"schema_version"`
	Subject       string `json:"subject"`
	State         State  `json:"state"`
	// Level is what the registry compared by, empty if it compared nothing.
	Level string `json:"level,omitempty"`
	// Reasons are the registry's, as far as it gives any.
	Reasons []string `json:"reasons,omitempty"`
}

// Check asks whether the schemas could be published, and changes nothing. The
// registry compares by the level that the subject has now; where publishing
// would set another, a reason says so.
//
// An error means that there is no verdict on a schema. It goes on after a
// failure and stops as Publish does.
func (r *Registry) Check(ctx context.Context, schemas ...Schema) ([]Verdict, error) {
	verdicts := make([]Verdict, 0, len(schemas))
	err := r.each("check", schemas, func(s Schema, subject string) error {
		v := Verdict{EventType: s.EventType, SchemaVersion: s.Version, Subject: subject}
		if err := r.judge(ctx, s, &v); err != nil {
			return err
		}
		verdicts = append(verdicts, v)
		return nil
	})
	return verdicts, err
}

func (r *Registry) judge(ctx context.Context, s Schema, v *Verdict) error {
	switch _, err := r.lookup(ctx, v.Subject, s); {
	case err == nil:
		v.State = StateKnown
		return nil
	case errors.Is(err, errNoSubject):
		v.State = StateNew
		return nil
	case !errors.Is(err, ErrNotRegistered):
		return err
	}
	var result sr.CheckCompatibilityResult
	err := r.retry(ctx, func() (err error) {
		result, err = r.client.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), v.Subject, byLevel, text(s))
		return err
	})
	if err != nil {
		return err
	}
	v.State, v.Reasons = StateCompatible, result.Messages
	if !result.Is {
		v.State = StateIncompatible
	}
	if v.Level, err = r.levelInEffect(ctx, v.Subject); err == nil && s.Compatibility != "" && s.Compatibility != v.Level {
		v.Reasons = append(v.Reasons, fmt.Sprintf("this was compared by %s; publishing sets %s", v.Level, s.Compatibility))
	}
	return err
}

// Registered returns nil if the registry has all of the schemas. Otherwise the
// error is or joins ErrNotRegistered, with the subjects and the command to run,
// or tells why they can't be looked up: ErrUnavailable, ErrUnauthorized.
func (r *Registry) Registered(ctx context.Context, schemas ...Schema) error {
	var missing []string
	err := r.each("look up", schemas, func(s Schema, subject string) error {
		_, err := r.lookup(ctx, subject, s)
		if errors.Is(err, ErrNotRegistered) {
			missing = append(missing, subject)
			return nil
		}
		return err
	})
	if len(missing) > 0 {
		err = errors.Join(fmt.Errorf("registry: %w at %s: %s: run `service events publish`", ErrNotRegistered, r, strings.Join(missing, ", ")), err)
	}
	return err
}

// startTimeout bounds the check at the start.
const startTimeout = 15 * time.Second

// CheckStart is Registered for the start of a service. Unless Config.Required is
// set, it logs what is wrong and returns nil.
func (r *Registry) CheckStart(ctx context.Context, logger *slog.Logger, schemas ...Schema) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := r.Registered(ctx, schemas...)
	if err == nil || r.config.Required {
		return err
	}
	logger.WarnContext(ctx, "the schema registry doesn't confirm the schemas of this build", "error", err)
	return nil
}

// each calls f for the schemas that are well-formed.
func (r *Registry) each(what string, schemas []Schema, f func(s Schema, subject string) error) error {
	var problems []error
	firsts := map[string]Schema{} // of each subject
	for i, s := range schemas {
		if err := r.config.Subjects.validate(s); err != nil {
			problems = append(problems, fmt.Errorf("registry: %s %s: %w", what, s, err))
			continue
		}
		subject := r.config.Subjects.Subject(s)
		if first, shared := firsts[subject]; shared && first.Compatibility != s.Compatibility {
			problems = append(problems, fmt.Errorf("registry: %s %s: the subject has one compatibility, but %s wants %q and %s %q: give both the same",
				what, subject, first, first.Compatibility, s, s.Compatibility))
			continue
		} else if !shared {
			firsts[subject] = s
		}
		err := f(s, subject)
		if err == nil {
			continue
		}
		problems = append(problems, fmt.Errorf("registry: %s %s: %w", what, subject, err))
		if left := len(schemas) - i - 1; left > 0 && hopeless(err) {
			problems = append(problems, fmt.Errorf("registry: %s: %d more not tried", what, left))
			break
		}
	}
	return errors.Join(problems...)
}

// byLevel is the client's number for a comparison with the schemas that the
// subject's level says: the last one or all.
const byLevel = -2

// text is what is sent: without white space, which some registries compare too.
func text(s Schema) sr.Schema {
	var compact bytes.Buffer
	_ = json.Compact(&compact, s.Text) // validate has seen that it can be done
	return sr.Schema{Schema: compact.String(), Type: sr.TypeJSON}
}

func (r *Registry) lookup(ctx context.Context, subject string, s Schema) (found sr.SubjectSchema, err error) {
	err = r.retry(ctx, func() (err error) {
		found, err = r.client.LookupSchema(ctx, subject, text(s))
		return err
	})
	return found, err
}

func (r *Registry) register(ctx context.Context, subject string, s Schema) (sr.SubjectSchema, error) {
	err := r.retry(ctx, func() error {
		_, err := r.client.RegisterSchema(ctx, subject, text(s), -1, -1)
		return err
	})
	if err != nil {
		return sr.SubjectSchema{}, err
	}
	return r.lookup(ctx, subject, s) // older registries answer with the id alone
}
