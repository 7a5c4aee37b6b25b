// Package registrytest has what tests of the schema registry share: a registry
// within the process, and the suite that every registry has to pass.
package registrytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// Server is a registry in memory. It is franz-go's, which takes every schema,
// with what that leaves out: rules of compatibility, users, and the error of a
// subject without a level of its own.
type Server struct {
	// URL is where it is. The user's name and password are in it, if it has one.
	URL string
	// User and Password are required of requests, if set before Start.
	User, Password string
	// ReadOnly forbids that user what changes something.
	ReadOnly bool

	fake *srfake.Registry
	// registering makes comparing and registering one step.
	registering sync.Mutex
}

// Start starts a server that stops when the test ends.
func Start(t testing.TB) *Server { return (&Server{}).Start(t) }

// Start starts the server and returns it.
func (s *Server) Start(t testing.TB) *Server {
	s.fake = srfake.NewRegistry()
	routes := http.NewServeMux()
	routes.HandleFunc("POST /subjects/{subject}/versions", s.register)
	routes.HandleFunc("POST /compatibility/subjects/{subject}/versions", s.compare)
	routes.HandleFunc("GET /config/{subject}", s.subjectLevel)
	routes.Handle("/", s.fake.Handler())
	server := httptest.NewServer(s.authenticated(routes))
	t.Cleanup(server.Close)
	s.URL = server.URL
	if s.User != "" {
		s.URL = strings.Replace(s.URL, "://", "://"+s.User+":"+s.Password+"@", 1)
	}
	return s
}

func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		// A lookup and a comparison are POSTs that change nothing.
		changes := r.Method == http.MethodPut || r.Method == http.MethodDelete ||
			strings.HasPrefix(r.URL.Path, "/subjects/") && strings.HasSuffix(r.URL.Path, "/versions") && r.Method == http.MethodPost
		switch {
		case user != s.User || password != s.Password:
			fail(w, http.StatusUnauthorized, 40101, "User cannot access the resource.")
		case s.ReadOnly && changes:
			fail(w, http.StatusForbidden, 40301, "User is denied this operation.")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// register refuses what breaks.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	s.registering.Lock()
	defer s.registering.Unlock()
	subject := r.PathValue("subject")
	text, ok := s.read(w, r)
	if !ok {
		return
	}
	for version := 1; ; version++ {
		known, exists := s.fake.GetSchema(subject, version)
		if !exists {
			break
		}
		if known.Schema.Schema == text {
			s.fake.Handler().ServeHTTP(w, r)
			return
		}
	}
	if reasons := s.breaks(subject, text); len(reasons) > 0 {
		fail(w, http.StatusConflict, 409, fmt.Sprintf("Schema being registered is incompatible with an earlier schema for subject %q, details: %s",
			subject, strings.Join(reasons, ", ")))
		return
	}
	s.fake.Handler().ServeHTTP(w, r)
}

// compare answers for a subject without schemas that all is well, as
// Confluent's registry does.
func (s *Server) compare(w http.ResponseWriter, r *http.Request) {
	text, ok := s.read(w, r)
	if !ok {
		return
	}
	reasons := s.breaks(r.PathValue("subject"), text)
	answer(w, http.StatusOK, sr.CheckCompatibilityResult{Is: len(reasons) == 0, Messages: reasons})
}

// subjectLevel makes the error for a subject without a level the default.
func (s *Server) subjectLevel(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if !query.Has("defaultToGlobal") {
		query.Set("defaultToGlobal", "false")
		r.URL.RawQuery = query.Encode()
	}
	s.fake.Handler().ServeHTTP(w, r)
}

// read returns the schema of a request and leaves the request as it was.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (text string, ok bool) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, http.StatusBadRequest, 400, err.Error())
		return "", false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var request sr.Schema
	var schema map[string]any
	if json.Unmarshal(body, &request) != nil || json.Unmarshal([]byte(request.Schema), &schema) != nil {
		fail(w, http.StatusUnprocessableEntity, sr.ErrInvalidSchema.Code, "Invalid schema: not an object")
		return "", false
	}
	return request.Schema, true
}

// breaks compares a schema with the last of the subject's, or with all where
// the level is transitive.
func (s *Server) breaks(subject, text string) []string {
	level := s.level(subject)
	var earlier []string
	for version := 1; ; version++ {
		known, exists := s.fake.GetSchema(subject, version)
		if !exists {
			break
		}
		earlier = append(earlier, known.Schema.Schema)
	}
	if n := len(earlier); n > 1 && !strings.HasSuffix(level, "_TRANSITIVE") {
		earlier = earlier[n-1:]
	}
	var reasons []string
	for _, other := range earlier {
		if strings.HasPrefix(level, "BACKWARD") || strings.HasPrefix(level, "FULL") {
			reasons = append(reasons, unreadable(decoded(text), decoded(other), "#")...)
		}
		if strings.HasPrefix(level, "FORWARD") || strings.HasPrefix(level, "FULL") {
			reasons = append(reasons, unreadable(decoded(other), decoded(text), "#")...)
		}
	}
	return reasons
}

func (s *Server) level(subject string) string {
	request := httptest.NewRequest(http.MethodGet, "/config/x?defaultToGlobal=true", nil)
	request.URL.Path = "/config/" + subject
	response := httptest.NewRecorder()
	s.fake.Handler().ServeHTTP(response, request)
	var config struct {
		Level string `json:"compatibilityLevel"`
	}
	_ = json.Unmarshal(response.Body.Bytes(), &config)
	return config.Level
}

func decoded(text string) (schema map[string]any) {
	_ = json.Unmarshal([]byte(text), &schema) // read has seen that it can be done
	return schema
}

// unreadable says what a reader of one schema can't take from a writer of
// another: another type, a property that it requires or doesn't know.
func unreadable(reader, writer map[string]any, at string) []string {
	if reader["type"] != writer["type"] {
		return []string{"TYPE_CHANGED at " + at}
	}
	var reasons []string
	required, _ := reader["required"].([]any)
	given, _ := writer["required"].([]any)
	for _, name := range required {
		if !slices.Contains(given, name) {
			reasons = append(reasons, fmt.Sprintf("REQUIRED_PROPERTY_ADDED at %s/%s", at, name))
		}
	}
	known, _ := reader["properties"].(map[string]any)
	written, _ := writer["properties"].(map[string]any)
	for name, property := range written {
		mine, ok := known[name].(map[string]any)
		switch other, isSchema := property.(map[string]any); {
		case !ok && reader["additionalProperties"] == false:
			reasons = append(reasons, fmt.Sprintf("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL at %s/%s", at, name))
		case ok && isSchema:
			reasons = append(reasons, unreadable(mine, other, at+"/"+name)...)
		}
	}
	return reasons
}

func fail(w http.ResponseWriter, status, code int, message string) {
	answer(w, status, map[string]any{"error_code": code, "message": message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that is gone
}
