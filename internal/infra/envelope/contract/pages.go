package contract

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	html "html/template"
	"io"
	"net/http"
	"strings"
	text "text/template"
)

//go:embed events.md.tmpl
var markdownText string

//go:embed events.html.tmpl
var pageText string

var functions = map[string]any{
	"join":   func(list []string) string { return strings.Join(list, ", ") },
	"indent": indent,
	// cell keeps a text within a cell of a Markdown table.
	"cell": strings.NewReplacer("|", `\|`, "\n", " ").Replace,
}

func indent(raw json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return string(raw)
	}
	return b.String()
}

var (
	markdown = text.Must(text.New("events.md").Funcs(functions).Parse(markdownText))
	page     = html.Must(html.New("events.html").Funcs(functions).Parse(pageText))
)

// Markdown writes a document for people.
func (s Service) Markdown(w io.Writer) error { return markdown.Execute(w, s) }

// Handler serves what there is to know: /schemas a page for people,
// /schemas/<type>/v<n>.json the JSON Schemas, /asyncapi.yaml the AsyncAPI document.
func (s Service) Handler() (http.Handler, error) {
	var rendered bytes.Buffer
	if err := page.Execute(&rendered, s); err != nil {
		return nil, fmt.Errorf("contract: page: %w", err)
	}
	asyncAPI, err := s.AsyncAPI()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	serve := func(path, mediaType string, content []byte) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			_, _ = w.Write(content) // the client is gone if this fails
		})
	}
	serve("/schemas", "text/html; charset=utf-8", rendered.Bytes())
	serve("/asyncapi.yaml", "application/yaml", asyncAPI)
	for _, e := range s.Events {
		for _, v := range e.Versions {
			serve("/schemas/"+v.Path(), "application/schema+json", v.JSON())
		}
	}
	return mux, nil
}
