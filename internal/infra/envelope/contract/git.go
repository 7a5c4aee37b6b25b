package contract

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"example.com/millwright/internal/infra/envelope/schema"
)

// Git is the history of a directory of schemas in its Git repository, up to Ref.
type Git struct{ Dir, Ref string }

// Last implements History. A commit without the directory has no schemas.
func (g Git) Last() ([]*schema.Document, error) {
	if _, err := g.run("rev-parse", "--verify", "--quiet", g.Ref+"^{commit}"); err != nil {
		return nil, fmt.Errorf("contract: there is no commit %q to compare %s with (%w): name one, or a directory of schemas", g.Ref, g.Dir, err)
	}
	listing, err := g.run("ls-tree", "-r", "--name-only", g.Ref, ".")
	if err != nil {
		return nil, err
	}
	var documents []*schema.Document
	for file := range strings.Lines(string(listing)) {
		if file = strings.TrimSpace(file); !strings.HasSuffix(file, ".json") {
			continue
		}
		d, err := g.at(g.Ref, file)
		if err != nil {
			return nil, err
		}
		documents = append(documents, d)
	}
	return documents, nil
}

// All implements History.
func (g Git) All(path string) ([]*schema.Document, error) {
	commits, err := g.run("log", "--format=%H", "--diff-filter=AM", g.Ref, "--", path)
	if err != nil {
		return nil, err
	}
	var documents []*schema.Document
	for _, commit := range slices.Backward(strings.Fields(string(commits))) {
		d, err := g.at(commit, path)
		if err != nil {
			return nil, err
		}
		documents = append(documents, d)
	}
	return documents, nil
}

func (g Git) at(commit, path string) (*schema.Document, error) {
	content, err := g.run("show", commit+":./"+path)
	if err != nil {
		return nil, err
	}
	return schema.Parse(path, content)
}

func (g Git) run(args ...string) ([]byte, error) {
	cmd := exec.Command("git", append([]string{"-C", g.Dir}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(errs.String()); text != "" {
			err = errors.New(text)
		}
		return nil, fmt.Errorf("git %s: %w", args[0], err)
	}
	return out.Bytes(), nil
}
