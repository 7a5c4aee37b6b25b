package kafka

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

// server is a kfake cluster of three brokers that can be cut off, stopped and
// started again.
type server struct {
	options []kfake.Opt
	line    line

	cluster *kfake.Cluster
	addrs   []string
}

func startServer(t *testing.T, options ...kfake.Opt) *server {
	t.Helper()
	s := &server{}
	s.options = append([]kfake.Opt{
		kfake.NumBrokers(3),
		kfake.ListenFn(s.line.listen),
		kfake.DataDir(t.TempDir()),
	}, options...)
	s.start(t)
	s.addrs = s.cluster.ListenAddrs()
	t.Cleanup(func() { s.cluster.Close() })
	return s
}

func (s *server) start(t *testing.T, options ...kfake.Opt) {
	t.Helper()
	cluster, err := kfake.NewCluster(append(s.options, options...)...)
	require.NoError(t, err)
	s.cluster = cluster
}

// Outage cuts all connections and refuses new ones.
func (s *server) Outage(*testing.T) (end func()) {
	s.line.cut()
	return s.line.mend
}

// Restart stops the cluster and starts it at the same addresses with the data
// it has written.
func (s *server) Restart(t *testing.T) {
	t.Helper()
	var ports []int
	for _, addr := range s.addrs {
		_, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		n, err := strconv.Atoi(port)
		require.NoError(t, err)
		ports = append(ports, n)
	}
	s.cluster.Close()
	s.start(t, kfake.Ports(ports...))
	require.Equal(t, s.addrs, s.cluster.ListenAddrs(), fmt.Sprint(ports))
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
