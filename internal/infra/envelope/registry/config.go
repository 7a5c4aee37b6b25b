package registry

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Config says where the registry is, and how it is used.
type Config struct {
	// URL is where the API is: http://host:8081, or with a path and with the
	// credentials of basic authentication https://user:password@host/path. The
	// password is never printed.
	URL string
	// Subjects is how subjects are named. Defaults to ByVersion.
	Subjects Strategy
	// Required makes CheckStart fail where it would only warn.
	Required bool
	// Timeout bounds one request. Defaults to 5s.
	Timeout time.Duration
	// Attempts is how often a request is sent to a registry that is unavailable.
	// Defaults to 3.
	Attempts int
}

func (c *Config) setDefaults() {
	c.Subjects = cmp.Or(c.Subjects, ByVersion)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.Attempts = cmp.Or(c.Attempts, 3)
}

func (c Config) validate() error {
	var problems []error
	if _, err := ParseURL(c.URL); err != nil {
		problems = append(problems, fmt.Errorf("registry: URL: %w", err))
	}
	if _, err := ParseStrategy(string(c.Subjects)); err != nil {
		problems = append(problems, fmt.Errorf("registry: Subjects: %w", err))
	}
	if c.Timeout < 0 {
		problems = append(problems, fmt.Errorf("registry: Timeout: %s: give a duration above zero", c.Timeout))
	}
	if c.Attempts < 0 {
		problems = append(problems, fmt.Errorf("registry: Attempts: %d: give 1 or more", c.Attempts))
	}
	return errors.Join(problems...)
}

// ParseURL reads a Config's URL. Errors don't repeat it: it may hold a password.
func ParseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("it doesn't parse as a URL: write special characters of the password as %XX")
	}
	var problems []error
	if u.Scheme != "http" && u.Scheme != "https" {
		problems = append(problems, errors.New("give http://host:8081 or https://user:password@host"))
	} else if u.Hostname() == "" {
		problems = append(problems, errors.New("the host is missing: give http://host:8081"))
	}
	if _, ok := u.User.Password(); ok && u.User.Username() == "" {
		problems = append(problems, errors.New("there is a password but no user"))
	}
	if u.RawQuery != "" || u.Fragment != "" {
		problems = append(problems, errors.New("nothing may follow the path"))
	}
	return u, errors.Join(problems...)
}
