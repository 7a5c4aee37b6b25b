package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// server is the PostgreSQL that everybody gets a fresh database on.
type server struct {
	url     string
	cleanup func()
}

// openServer takes the server at the URL, or starts one with fsync on that is
// gone afterwards.
func openServer(ctx context.Context, address string) (*server, error) {
	if address != "" {
		return &server{url: address, cleanup: func() {}}, nil
	}
	tool, err := postgresTools()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "millwright-bench-")
	if err != nil {
		return nil, err
	}
	run := func(ctx context.Context, name string, args ...string) error {
		command := append([]string{filepath.Join(tool, name)}, args...)
		if os.Getuid() == 0 { // PostgreSQL refuses to run as root
			command = append([]string{"runuser", "-u", "postgres", "--"}, command...)
		}
		c := exec.CommandContext(ctx, command[0], command[1:]...)
		c.Dir = dir
		c.Stderr = os.Stderr
		return c.Run()
	}
	if os.Getuid() == 0 {
		if err := exec.CommandContext(ctx, "chown", "postgres", dir).Run(); err != nil {
			return nil, fmt.Errorf("give the data to the user postgres: %w", err)
		}
	}
	data := filepath.Join(dir, "data")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close() // free for the server
	if err := run(ctx, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"); err != nil {
		return nil, fmt.Errorf("initdb: %w", err)
	}
	options := fmt.Sprintf("-p %d -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300 -c max_wal_size=4GB", port)
	if err := run(ctx, "pg_ctl", "start", "-w", "-s", "-D", data, "-l", filepath.Join(data, "log"), "-o", options); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return &server{
		url: fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port),
		cleanup: func() {
			stop, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			_ = run(stop, "pg_ctl", "stop", "-s", "-m", "immediate", "-D", data)
			_ = os.RemoveAll(dir)
		},
	}, nil
}

func postgresTools() (string, error) {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		return filepath.Dir(slices.Max(found)), nil
	}
	if found, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(found), nil
	}
	return "", errors.New("no PostgreSQL: set DATABASE_URL, or install its server (Debian: apt-get install postgresql)")
}

// fresh makes a database and returns its URL and what drops it.
func (s *server) fresh(ctx context.Context) (string, func(), error) {
	admin, err := sql.Open("pgx", s.url)
	if err != nil {
		return "", nil, err
	}
	name := fmt.Sprintf("bench_%08x", rand.Uint32())
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", nil, errors.Join(err, admin.Close())
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return "", nil, errors.New("DATABASE_URL is not a URL") // the error repeats it, password and all
	}
	u.Path = "/" + name
	if !strings.Contains(u.RawQuery, "sslmode") {
		query := u.Query()
		query.Set("sslmode", "prefer")
		u.RawQuery = query.Encode()
	}
	return u.String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, _ = admin.ExecContext(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		_ = admin.Close()
	}, nil
}

// conditions are what a figure depends on.
func (s *server) conditions(ctx context.Context) ([]string, error) {
	db, err := sql.Open("pgx", s.url)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var all []string
	for _, name := range []string{"server_version", "fsync", "synchronous_commit", "shared_buffers", "max_wal_size"} {
		var value string
		if err := db.QueryRowContext(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			return nil, err
		}
		all = append(all, name+" "+value)
	}
	return all, nil
}

// usage is what a measurement has cost so far.
type usage struct {
	cpu       time.Duration // of this process
	serverCPU time.Duration // 0 if it isn't local
	wal       int64         // bytes
	allocs    uint64        // of this process
}

func (s *server) usage(ctx context.Context, db *sql.DB) (u usage, err error) {
	err = db.QueryRowContext(ctx, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").Scan(&u.wal)
	u.cpu, u.serverCPU = processCPU(), postgresCPU()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	u.allocs = memory.Mallocs
	return u, err
}
