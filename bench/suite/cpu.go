package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func processCPU() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// tick is the kernel's unit in /proc/<pid>/stat (USER_HZ, 100 everywhere).
const tick = 10 * time.Millisecond

// postgresCPU sums up the processes called postgres on this machine, their
// ended children included; 0 where there is no /proc or no local server.
func postgresCPU() (total time.Duration) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		name, rest, found := strings.Cut(string(stat), ") ")
		if found && strings.HasSuffix(name, "(postgres") {
			total += cpuFields(strings.Fields(rest), 4)
		}
	}
	return total
}

// cpuFields adds up the first n of utime, stime, cutime and cstime: proc(5).
func cpuFields(fields []string, n int) (total time.Duration) {
	if len(fields) < 15 {
		return 0
	}
	for _, field := range fields[11 : 11+n] {
		ticks, _ := strconv.ParseInt(field, 10, 64)
		total += time.Duration(ticks) * tick
	}
	return total
}

// startProfile profiles this process, if asked to, until stop is called.
func (b *bench) startProfile() (stop func()) {
	if b.profile == "" {
		return func() {}
	}
	file, err := os.Create(b.profile)
	if err == nil {
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: no profile:", err)
		return func() {}
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}
}
