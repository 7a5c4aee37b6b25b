// Command scaffold writes the code that every service has to write again and
// again. Run it in the root of the repository.
//
//	scaffold version <event type>   start a new schema version of an event type
//
// Exit codes: 0 done; 1 failed, and nothing was written; 2 wrong command line;
// 3 what was asked for doesn't exist.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
)

var errNotFound = errors.New("not found")

func main() { os.Exit(run(".", os.Args[1:], os.Stdout, os.Stderr)) }

// cli is the command line.
type cli struct {
	Version versionCommand `cmd:"" help:"Start a new schema version of an event type."`
}

// place is where a command works and writes what it did.
type place struct {
	dir string // the repository's root
	out io.Writer
}

// exit is panicked by kong after --help and recovered by run.
type exit int

// run is the whole program: it returns the exit code.
func run(dir string, args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		if p := recover(); p != nil {
			asked, ok := p.(exit)
			if !ok {
				panic(p)
			}
			code = int(asked)
		}
	}()
	parser, err := kong.New(&cli{},
		kong.Name("scaffold"),
		kong.Description("Writes the code that is the same for every event. Run it in the repository's root."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.Bind(place{dir, stdout}),
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "scaffold: %v\nRun `scaffold --help` for the commands.\n", err)
		return exitUsage
	}
	switch err := command.Run(); {
	case err == nil:
		return exitDone
	case errors.Is(err, errNotFound):
		fmt.Fprintf(stderr, "scaffold: %v\n", err)
		return exitNotFound
	default:
		fmt.Fprintf(stderr, "scaffold: %v\n", err)
		return exitFailed
	}
}
