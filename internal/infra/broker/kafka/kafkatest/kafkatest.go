// Package kafkatest runs a Kafka in the test's own process (franz-go's kfake)
// that can be cut off and restarted.
package kafkatest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Server is a cluster of three brokers.
type Server struct {
	// Addrs are where its brokers listen, as host:port.
	Addrs []string

	// Cluster is the kfake itself.
	Cluster *kfake.Cluster

	options []kfake.Opt
	line    line
}

// Start starts a cluster that is stopped when the test ends.
func Start(t *testing.T, options ...kfake.Opt) *Server {
	t.Helper()
	s := &Server{}
	s.options = append([]kfake.Opt{
		kfake.NumBrokers(3),
		kfake.ListenFn(s.line.listen),
		kfake.DataDir(t.TempDir()),
	}, options...)
	s.start(t)
	s.Addrs = s.Cluster.ListenAddrs()
	t.Cleanup(func() { s.Cluster.Close() })
	return s
}

func (s *Server) start(t *testing.T, options ...kfake.Opt) {
	t.Helper()
	cluster, err := kfake.NewCluster(append(s.options, options...)...)
	require.NoError(t, err)
	s.Cluster = cluster
}

// Outage cuts all connections and refuses new ones.
func (s *Server) Outage(*testing.T) (end func()) {
	s.line.cut()
	return s.line.mend
}

// Restart stops the cluster and starts it at the same addresses with the data
// it has written.
func (s *Server) Restart(t *testing.T) {
	t.Helper()
	var ports []int
	for _, addr := range s.Addrs {
		_, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		n, err := strconv.Atoi(port)
		require.NoError(t, err)
		ports = append(ports, n)
	}
	s.Cluster.Close()
	s.start(t, kfake.Ports(ports...))
	require.Equal(t, s.Addrs, s.Cluster.ListenAddrs(), fmt.Sprint(ports))
}

// line is the wire between clients and servers.
type line struct {
	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
}

func (l *line) listen(network, address string) (net.Listener, error) {
	listener, err := net.Listen(network, address)
	return &cuttable{Listener: listener, line: l}, err
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for conn := range l.conns {
		_ = conn.Close()
	}
	clear(l.conns)
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// admit reports whether the connection may be used.
func (l *line) admit(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return false
	}
	if l.conns == nil {
		l.conns = map[net.Conn]struct{}{}
	}
	l.conns[conn] = struct{}{}
	return true
}

type cuttable struct {
	net.Listener
	line *line
}

func (c *cuttable) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil || c.line.admit(conn) {
			return conn, err
		}
		_ = conn.Close()
	}
}

// URL is the cluster as a setting names it.
func (s *Server) URL() string { return "kafka://" + strings.Join(s.Addrs, ",") }
