package registry_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/millwright/internal/infra/envelope/registry"
)

// TestConfig reports all problems at once, and no password.
func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := registry.New(registry.Config{URL: "ftp://ada:s3cret@host/x?y", Subjects: "names", Timeout: -time.Second, Attempts: -1})
	require.EqualError(t, err, `registry: URL: give http://host:8081 or https://user:password@host
nothing may follow the path
registry: Subjects: "names": use version, record, topic-record or topic
registry: Timeout: -1s: give a duration above zero
registry: Attempts: -1: give 1 or more`)
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for raw, problem := range map[string]string{
		"http://localhost:8081":                "",
		"https://ada:pw@registry.test/apis/v7": "",
		"https://key@registry.test":            "",
		"":                                     "give http://host:8081 or https://user:password@host",
		"localhost:8081":                       "give http://host:8081 or https://user:password@host",
		"http://":                              "the host is missing: give http://host:8081",
		"http://:8081":                         "the host is missing: give http://host:8081",
		"http://:s3cret@host":                  "there is a password but no user",
		"http://ada:s3/cret@host":              "it doesn't parse as a URL: write special characters of the password as %XX",
		"http://host/#part":                    "nothing may follow the path",
	} {
		_, err := registry.ParseURL(raw)
		if problem == "" {
			require.NoError(t, err, raw)
			continue
		}
		require.EqualError(t, err, problem, raw)
	}
}

// TestURLIsNotRepeated gives passwords of all kinds, also such as break the URL.
func TestURLIsNotRepeated(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := "s3cret" + rapid.StringMatching(`[!-~]{0,6}`).Draw(t, "rest")
		scheme := rapid.SampledFrom([]string{"http://", "https://", "ftp://", "", " http://"}).Draw(t, "scheme")
		client, err := registry.New(registry.Config{URL: scheme + "ada:" + secret + "@host:1"})
		if err != nil {
			require.NotContains(t, err.Error(), "s3cret")
			return
		}
		require.NotContains(t, client.String(), "s3cret")
		require.NotContains(t, fmt.Sprintf("%+v", client.Registered(t.Context(), registry.Schema{})), "s3cret")
	})
}

func TestParseStrategy(t *testing.T) {
	t.Parallel()
	for _, s := range []registry.Strategy{registry.ByVersion, registry.ByRecord, registry.ByTopicRecord, registry.ByTopic} {
		parsed, err := registry.ParseStrategy(string(s))
		require.NoError(t, err)
		require.Equal(t, s, parsed)
	}
	_, err := registry.ParseStrategy("Topic")
	require.EqualError(t, err, `"Topic": use version, record, topic-record or topic`)
}

// TestSubjectsByVersionAreApart: no two versions share a subject by accident.
func TestSubjectsByVersionAreApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		schema := rapid.Custom(func(t *rapid.T) registry.Schema {
			return registry.Schema{EventType: rapid.StringMatching(`[a-z](\.?(v?[0-9]|[a-z])){0,4}`).Draw(t, "type"), Version: rapid.IntRange(1, 12).Draw(t, "version")}
		})
		a, b := schema.Draw(t, "a"), schema.Draw(t, "b")
		same := registry.ByVersion.Subject(a) == registry.ByVersion.Subject(b)
		require.Equal(t, a.String() == b.String(), same)
	})
}
