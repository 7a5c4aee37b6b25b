// Command bench compares this project with its peers on the same work:
//
//	go run ./bench -help
//
// The suite itself, in bench/suite, is a module of its own, so that the peers
// (River, stock watermill-sql) are no dependency of the service. This command
// only starts it.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
)

func main() {
	signal.Ignore(os.Interrupt) // the suite gets it as well, and cleans up
	command := exec.Command("go", append([]string{"run", "."}, os.Args[1:]...)...)
	command.Dir = "bench/suite"
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := command.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: start the suite from the repository's root:", err)
		os.Exit(1)
	}
}
