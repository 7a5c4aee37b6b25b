package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
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
		transactions := func() (n float64, err error) { return 0, nil }
		if where == "PostgreSQL" {
			db, err := openPool(url)
			if err != nil {
				return nil, err
			}
			defer db.Close()
			transactions = func() (float64, error) { return ended(ctx, db) }
		}
		cpu, started := cpuOf(service.Process.Pid), time.Now()
		ended, err := transactions()
		if err != nil {
			return nil, err
		}
		time.Sleep(max(b.seconds, 2*time.Second))
		seconds := time.Since(started).Seconds()
		s := sample{
			"% of a core": 100 * (cpuOf(service.Process.Pid) - cpu).Seconds() / seconds,
			"MB":          residentMB(service.Process.Pid),
		}
		if where == "PostgreSQL" {
			after, err := transactions()
			if err != nil {
				return nil, err
			}
			s["transactions/s"] = (after - ended) / seconds
		}
		return s, nil
	}}
}

// ended counts the transactions of the database so far.
func ended(ctx context.Context, db *sql.DB) (n float64, err error) {
	err = db.QueryRowContext(ctx, `SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()`).Scan(&n)
	return n, err
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
