package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/millwright/internal/infra/database/databasetest"
)

// settle is how long a service that has just started is given to get quiet.
const settle = 5 * time.Second

// idle builds the example service, starts it, and watches it do nothing.
func idle(where string) entry {
	return entry{"millwright on " + where, func(ctx context.Context, b *bench, url string) (_ sample, err error) {
		dir, err := os.MkdirTemp("", "millwright-bench-")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if where == "SQLite" {
			url = "sqlite:" + filepath.Join(dir, "idle.db")
		}
		build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "service"), "./cmd/service")
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the service: %w\n%s", err, out)
		}
		service := exec.CommandContext(ctx, filepath.Join(dir, "service"), "serve", "--migrate")
		service.Dir = dir
		statements := func() int64 { return 0 }
		if where == "PostgreSQL" {
			proxy, err := databasetest.OpenProxy(url)
			if err != nil {
				return nil, err
			}
			defer proxy.Close()
			url, statements = proxy.URL, proxy.Statements
		}
		service.Env = append(os.Environ(), "DATABASE_URL="+url, "HTTP_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "LOG_LEVEL=error")
		out, err := service.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := service.Start(); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, service.Process.Signal(syscall.SIGTERM), service.Wait()) }()
		if !bufio.NewScanner(out).Scan() {
			return nil, errors.New("the service doesn't start")
		}
		time.Sleep(settle)
		cpu, executed, started := cpuOf(service.Process.Pid), statements(), time.Now()
		time.Sleep(max(b.seconds, 2*time.Second))
		seconds := time.Since(started).Seconds()
		s := sample{
			"% of a core": 100 * (cpuOf(service.Process.Pid) - cpu).Seconds() / seconds,
			"MB":          residentMB(service.Process.Pid),
		}
		if where == "PostgreSQL" {
			s["statements/s"] = float64(statements()-executed) / seconds
		}
		return s, nil
	}}
}

// cpuOf is what a process has used so far; 0 where there is no /proc.
func cpuOf(pid int) time.Duration {
	stat, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return cpuFields(strings.Fields(rest), 2)
}

// residentMB is how much memory a process has.
func residentMB(pid int) float64 {
	status, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kB, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return kB / 1024
}
