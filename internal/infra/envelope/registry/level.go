package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/sr"
)

// setLevel gives a subject its compatibility level if it has another, or none.
// The error is ErrNotRegistered where that needs a schema first.
func (r *Registry) setLevel(ctx context.Context, subject, level string) error {
	if level == "" {
		return nil
	}
	current, err := r.level(ctx, subject)
	if current == level || err != nil && !errors.Is(err, ErrNotRegistered) {
		return err
	}
	var wanted sr.CompatibilityLevel
	if err := wanted.UnmarshalText([]byte(level)); err != nil {
		return err
	}
	err = r.retry(ctx, func() error {
		return r.client.SetCompatibility(ctx, sr.SetCompatibility{Level: wanted}, subject)[0].Err
	})
	if err == nil {
		return nil
	}
	// Somebody else may have set it meanwhile, which some registries call a conflict.
	if now, second := r.level(ctx, subject); second == nil && now == level {
		return nil
	}
	return fmt.Errorf("set its compatibility to %s: %w", level, err)
}

// levelInEffect is the subject's level, else the registry's own. Not every
// registry knows the parameter that asks for that in one request.
func (r *Registry) levelInEffect(ctx context.Context, subject string) (string, error) {
	level, err := r.level(ctx, subject)
	if errors.Is(err, ErrNotRegistered) {
		return r.level(ctx, sr.GlobalSubject)
	}
	return level, err
}

// level returns a subject's own level. Without one the error is ErrNotRegistered.
func (r *Registry) level(ctx context.Context, subject string) (level string, err error) {
	err = r.retry(ctx, func() error {
		result := r.client.Compatibility(ctx, subject)[0]
		level = result.Level.String()
		return result.Err
	})
	return level, err
}
